// The official Ogmios client behind lines of JSON: {"do": name, "args": [...]} on stdin; on stdout
// {"answer": …} or {"error": …} for each, and {"event": "forward" | "backward", …} as chain synchronisation goes.
import { createInterface } from 'node:readline'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const [home, host, port] = process.argv.slice(2)
const require = createRequire(join(home, 'package.json'))
const ogmios = require('@cardano-ogmios/client')

const show = (value) =>
  process.stdout.write(JSON.stringify(value, (_, item) => (typeof item === 'bigint' ? Number(item) : item)) + '\n')
const context = () =>
  ogmios.createInteractionContext((error) => show({ event: 'error', message: String(error) }), () => {}, {
    connection: { host, port: Number(port) },
  })
const once = (make) => {
  let made = null
  return () => (made ??= context().then(make))
}
const ledger = once(ogmios.createLedgerStateQueryClient)
const submission = once(ogmios.createTransactionSubmissionClient)
const mempool = once(ogmios.createMempoolMonitoringClient)
const chain = once((given) =>
  ogmios.createChainSynchronizationClient(given, {
    async rollForward({ block, tip }, next) {
      show({ event: 'forward', block, tip })
      next()
    },
    async rollBackward({ point, tip }, next) {
      show({ event: 'backward', point, tip })
      next()
    },
  }),
)

async function run(name, args) {
  if (name === 'health') return ogmios.getServerHealth({ connection: ogmios.createConnectionObject({ host, port: Number(port) }) })
  if (name === 'resume') return (await chain()).resume(...args)
  if (name.startsWith('ledger.')) return (await ledger())[name.slice(7)](...args)
  if (name.startsWith('mempool.')) return (await mempool())[name.slice(8)](...args)
  return (await submission())[name](...args)
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  try {
    show({ answer: (await run(request.do, request.args ?? [])) ?? null })
  } catch (error) {
    show({ error: { code: error?.code ?? error?.error?.code, message: error?.message, data: error?.data, raw: error?.error } })
  }
}
process.exit(0)
