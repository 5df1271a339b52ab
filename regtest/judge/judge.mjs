// The ledger emulator of scalus behind lines of JSON: one request a line on stdin, one answer a line on stdout.
// {"do": "begin", "utxo": hex, "zero_time": ms, "slot": n}   a new emulator over a UTxO map
// {"do": "submit", "tx": hex, "slot": n}                     {"ok": bool, "error": text | null, "micros": of submitTx alone}
// {"do": "utxo"}                                             {"utxo": hex}
import { createInterface } from 'node:readline'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const require = createRequire(join(process.argv[2], 'package.json'))
const { Emulator, SlotConfig } = require('scalus')

const bytes = (hex) => Uint8Array.from(Buffer.from(hex, 'hex'))
const text = (data) => Buffer.from(data).toString('hex')
let emulator = null

const handlers = {
  begin(request) {
    emulator = new Emulator(bytes(request.utxo), new SlotConfig(request.zero_time, 0, 1000))
    emulator.setSlot(request.slot)
    return { ok: true }
  },
  submit(request) {
    emulator.setSlot(request.slot)
    const tx = bytes(request.tx)
    const begun = process.hrtime.bigint()
    const result = emulator.submitTx(tx)
    const micros = Number((process.hrtime.bigint() - begun) / 1000n)
    const error = result.isSuccess ? null : String(result.error)
    return { ok: result.isSuccess, error, logs: result.logs ?? [], micros }
  },
  utxo() {
    return { utxo: text(emulator.getUtxosCbor()) }
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer
  try {
    const request = JSON.parse(line)
    answer = handlers[request.do](request)
  } catch (error) {
    answer = { ok: false, error: `judge: ${error?.message ?? error}` }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
