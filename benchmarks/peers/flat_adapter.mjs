// Drives a room server over the flat 0.5 dialect of the room protocol from a Node load generator.
//
//   connect({port, token, room, url, onMessage}) -> {ready, send(text), close()}      room messaging
//   open({port, docName, doc, token, onApplied, onRaw}) -> {ready, send(update), close()}   one Yjs document
//   openTool({port, token, url}) -> {call(text), close()}      caller and tool host on two connections, echo tool
//
// Environment:
//   FLAT_MODULES     directory whose node_modules holds `ws` and `yjs` (default: $PEERS_HOME/n/gen, /tmp/peers/n/gen)
//   FLAT_REMOTE      module that exports `REMOTE`, the transaction origin that the generator knows as "not mine"
//   FLAT_SECRET      sign our own participant tokens with this secret instead of using the token handed in
//   FLAT_KEY_ID, FLAT_PROJECT_ID   the `kid` and `sub` claims of those tokens
//   FLAT_PACKET      bytes of data in a packet; 1024, as existing clients send, unless given (65536: a modern client)
//   FLAT_ROOM_ONLY   1: `ready` means room_ready, without enabling messaging (a storm of joins into one room is
//                    quadratic in presence events otherwise)
//   FLAT_EXTENSION   document schema, by file extension (default: document)
import crypto from 'node:crypto'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const env = process.env
const modules = env.FLAT_MODULES || `${env.PEERS_HOME || '/tmp/peers'}/n/gen`
const load = createRequire(`${modules}/index.js`)
const WebSocket = load('ws')
const Y = load('yjs')
const PACKET = Number(env.FLAT_PACKET || 1024)
const EXTENSION = env.FLAT_EXTENSION || 'document'
const REMOTE = env.FLAT_REMOTE ? (await import(pathToFileURL(env.FLAT_REMOTE))).REMOTE : Symbol.for('remote')
const NOTHING = Buffer.alloc(0)

export function pack (header, payload = NOTHING) {
  const text = Buffer.from(JSON.stringify({ ...header, __meshagent__: { v: 1, otel: {} } }))
  const size = Buffer.alloc(8)
  size.writeUInt32BE(text.length, 4)
  return Buffer.concat([size, text, payload])
}

export function unpack (data) {
  const end = 8 + data.readUInt32BE(4)
  return [JSON.parse(data.subarray(8, end)), data.subarray(end)]
}

export function participantToken (room, name = 'bench') {
  const encode = value => Buffer.from(JSON.stringify(value)).toString('base64url')
  const claims = { name, grants: [{ name: 'room', scope: room }, { name: 'role', scope: 'user' }] }
  if (env.FLAT_PROJECT_ID) claims.sub = env.FLAT_PROJECT_ID
  if (env.FLAT_KEY_ID) claims.kid = env.FLAT_KEY_ID
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ ...claims, exp: Math.floor(Date.now() / 1000) + 3600 })}`
  return `${signed}.${crypto.createHmac('sha256', env.FLAT_SECRET).update(signed).digest('base64url')}`
}

const tokens = new Map()
function tokenFor (room, given) {
  if (!env.FLAT_SECRET) return given
  if (!tokens.has(room)) tokens.set(room, participantToken(room))
  return tokens.get(room)
}

// One connection: whole messages in (`onEvent(type, data, id)`), requests and one-way messages out.
export function join ({ port, token, room = 'room', url, onEvent = () => {} }) {
  const base = url || `ws://127.0.0.1:${port}/rooms/${room}`
  const socket = new WebSocket(`${base}?token=${tokenFor(room, token)}&v=0.5.18`, { perMessageDeflate: false })
  const pending = new Map()
  const session = { socket }
  let lastId = 0
  let partial = null

  session.sendMessage = (type, data, id = ++lastId) => {
    const count = Math.ceil(data.length / PACKET)
    const header = Buffer.alloc(16 + type.length)
    header.writeUInt32BE(id, 4); header.writeUInt32BE(count, 12); header.write(type, 16)
    socket.send(header)
    for (let index = 1; index <= count; index++) {
      const slice = data.subarray((index - 1) * PACKET, index * PACKET)
      const packet = Buffer.alloc(12 + slice.length)
      packet.writeUInt32BE(id, 4); packet.writeUInt32BE(index, 8); slice.copy(packet, 12)
      socket.send(packet)
    }
    return id
  }
  session.request = (type, header, payload) => new Promise((resolve, reject) => {
    pending.set(session.sendMessage(type, pack(header, payload)), { resolve, reject })
  })
  session.close = () => socket.terminate()

  const receive = (type, data, id) => {
    if (type === '__response__') {
      const waiting = pending.get(id)
      if (!waiting) return
      pending.delete(id)
      const [header, payload] = unpack(data)
      if (header.type === 'error') waiting.reject(new Error(header.text)); else waiting.resolve([header, payload])
    } else if (type === 'room_ready') session.joined()
    else onEvent(type, data, id)
  }
  socket.on('message', packet => {
    const id = packet.readUInt32BE(4)
    if (packet.readUInt32BE(8) === 0) {
      partial = { total: packet.readUInt32BE(12), type: packet.latin1Slice(16), parts: [] }
      if (partial.total === 0) receive(partial.type, NOTHING, id)
      return
    }
    partial.parts.push(packet.subarray(12))
    if (partial.parts.length === partial.total) receive(partial.type, partial.total === 1 ? partial.parts[0] : Buffer.concat(partial.parts), id)
  })
  session.ready = new Promise((resolve, reject) => {
    session.joined = resolve
    socket.on('error', reject)
    socket.on('unexpected-response', (request, response) => reject(new Error(`HTTP ${response.statusCode}`)))
    socket.on('close', code => {
      const error = new Error(`connection closed with ${code}`)
      reject(error)
      for (const waiting of pending.values()) waiting.reject(error)
    })
  })
  session.ready.catch(() => {})
  return session
}

export function connect ({ port, token, onMessage, room, url }) {
  const session = join({
    port, token, room, url,
    onEvent (type, data) {
      if (type !== 'messaging.send') return
      const text = data.latin1Slice(8) // no JSON.parse: the generator must not be the limit, and `p` is plain ASCII
      const key = text.indexOf('"p"')
      if (key < 0) return
      const start = text.indexOf('"', key + 3) + 1
      onMessage(text.slice(start, text.indexOf('"', start)))
    }
  })
  const enable = async () => {
    await session.ready
    if (env.FLAT_ROOM_ONLY !== '1') await session.request('messaging.enable', {})
  }
  const send = text => { session.request('messaging.broadcast', { type: 'm', message: { p: text } }).catch(() => {}) }
  return { ready: enable(), send, close: session.close }
}

export function open ({ port, docName, doc, token, onApplied, onRaw, url }) {
  const path = `${docName}.${EXTENSION}`
  let synchronized
  const first = new Promise(resolve => { synchronized = resolve })
  let started = false
  const session = join({
    port, token, url,
    onEvent (type, data) {
      if (type !== 'room.sync') return
      const end = 8 + data.readUInt32BE(4) // one document a connection, so the header is known
      const update = Buffer.from(data.latin1Slice(end), 'base64')
      if (!started) { started = true; Y.applyUpdate(doc, update, REMOTE); synchronized() } else if (onRaw) onRaw(update)
      else { Y.applyUpdate(doc, update, REMOTE); onApplied?.() }
    }
  })
  const subscribe = async () => {
    await session.ready
    await session.request('room.connect', { path, create: true })
    await first
  }
  const result = { ready: subscribe(), close: session.close, acknowledged: 0, failed: 0 }
  result.send = update => {
    const payload = Buffer.from(Buffer.from(update).toString('base64'), 'latin1')
    session.request('room.sync', { path }, payload).then(() => { result.acknowledged++ }, () => { result.failed++ })
  }
  return result
}

export async function openTool ({ port, token, url }) {
  const host = join({
    port, token, url,
    onEvent (type, data, id) {
      if (type !== 'agent.tool_call.bench') return
      const [header] = unpack(data)
      host.sendMessage('agent.tool_call_response', pack({ type: 'json', json: { echo: header.arguments.text }, usage: null }), id)
    }
  })
  await host.ready
  const schema = { type: 'object', properties: { text: { type: 'string' } }, required: ['text'], additionalProperties: false }
  const echo = { title: 'echo', description: 'returns its argument', input_schema: schema, thumbnail_url: null, defs: null }
  await host.request('agent.register_toolkit', { name: 'bench', title: 'bench', description: 'load test', thumbnail_url: null, public: true, tools: { echo } })
  const caller = join({ port, token, url })
  await caller.ready
  const call = async text => {
    const [header] = await caller.request('agent.invoke_tool', { toolkit: 'bench', tool: 'echo', participant_id: null, on_behalf_of_id: null, arguments: { text }, caller_context: null })
    return header.json.echo
  }
  return { call, close () { host.close(); caller.close() } }
}
