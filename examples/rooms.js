/* A client of pyjows' rooms for the browser: it connects, and connects again when the connection is lost.
 *
 *     const client = new RoomsClient('wss://example.com/chat', {
 *       message: ({room, position, data}) => …,    // of a numbered member; data is bytes (Uint8Array) for binary ones
 *       recovered: ({room, recovered}) => …,       // false: messages are lost, ask the server for the whole state
 *       other: value => …,                         // whatever else the server sends: JSON, text or bytes
 *       state: (state, why) => …,                  // 'connecting', 'open', 'waiting' (why: {delay, code, reason}), 'closed'
 *       open: client => client.send({…}),          // each time it is connected: say who you are
 *     }, {silence: 45000});                        // the server sends something more often than that
 *     client.send({type: 'say', text: 'hello'});   // false while it is not connected
 *     client.connect();                            // at once, with a new connection
 *     client.close();
 *
 * It remembers the last position of each room, and sends them as ?since=room@epoch:offset,… when it connects again;
 * the server hands them to join(since=ws.req.query_params.get('since')), and what was missed comes first. Positions
 * that make the URL too long are left out, and 'more' at the end says so: recovered is false in these rooms.
 *
 * All times are in milliseconds. The delay is random, up to `first`; then it doubles up to `longest`, less up to a half
 * at random, and starts anew after a connection that was open for `stable`. A page that is shown again, or whose network
 * is back, connects at once. A browser does not notice a network that is gone silently: `silence` does (0: off).
 */
'use strict';

class RoomsClient {
  constructor(url, handlers = {}, {first = 2000, longest = 30000, stable = 10000, silence = 0} = {}) {
    Object.assign(this, {url, handlers, first, longest, stable, silence});
    this.positions = new Map();  // room → the last position; the most recent ones are last
    this.tries = 0;              // since a connection was stable
    this.openedAt = Infinity;
    this.listeners = new AbortController();
    this.listen('online', () => this.connect());
    this.listen('pagehide', () => this.drop());  // a page in the back/forward cache has no connection
    this.listen('pageshow', event => event.persisted && this.connect());
    this.listen('visibilitychange', () => !document.hidden && this.waits && this.connect());
    this.connect();
  }

  listen(event, handler) {
    globalThis.window?.addEventListener(event, handler, {signal: this.listeners.signal});
  }

  connect() {
    if (this.listeners.signal.aborted) return;
    this.drop();
    const socket = this.socket = new WebSocket(this.resumingUrl());
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      this.openedAt = Date.now();
      this.expect();
      this.tell('state', 'open');
      this.tell('open', this);
    };
    socket.onmessage = event => this.received(event.data);
    socket.onclose = event => this.lost(event);
    this.expect();
    this.tell('state', 'connecting');
  }

  /* Close the connection that is there, if any, and hear nothing more of it. */
  drop() {
    clearTimeout(this.timer);
    clearTimeout(this.watch);
    this.waits = false;
    if (!this.socket) return;
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
  }

  expect() {
    clearTimeout(this.watch);
    if (this.silence) this.watch = setTimeout(() => this.lost({code: 1006, reason: 'silence'}), this.silence);
  }

  lost({code, reason}) {
    this.drop();
    if (Date.now() - this.openedAt >= this.stable) this.tries = 0;
    this.openedAt = Infinity;
    const most = Math.min(this.longest, this.first * 2 ** this.tries);
    const delay = this.tries++ ? most * (1 + Math.random()) / 2 : most * Math.random();
    this.timer = setTimeout(() => this.connect(), delay);
    this.waits = true;
    this.tell('state', 'waiting', {delay, code, reason});
  }

  resumingUrl() {
    const parts = [];
    let size = 0;
    for (const pair of [...this.positions].reverse()) {
      const part = pair.join('@');
      size += part.length + 1;
      if (size > 7000) {
        parts.push('more');
        break;
      }
      parts.push(part);
    }
    const url = new URL(this.url);
    // Of two positions of a room, the first counts: before those that the URL has.
    if (parts.length) url.search = [`since=${parts}`, ...url.search.slice(1).split('&').filter(Boolean)].join('&');
    return url.href;
  }

  received(data) {
    this.expect();
    let value = data;
    try {
      value = typeof data === 'string' ? JSON.parse(data) : new Uint8Array(data);
    } catch {
      // text that is not JSON
    }
    const has = (key, pattern) => typeof value?.[key] === 'string' && pattern.test(value[key]);
    if (!has('room', /^[\w.:/-]{1,128}$/) || !has('position', /^[0-9a-f]{1,32}:\d{1,16}$/)) {
      this.tell('other', value);
      return;
    }
    this.positions.delete(value.room);
    this.positions.set(value.room, value.position);
    if (this.positions.size > 1200) this.positions.delete(this.positions.keys().next().value);  // more never fit
    if ('recovered' in value) {
      this.tell('recovered', value);
    } else {
      if ('binary' in value) value.data = Uint8Array.from(atob(value.binary), byte => byte.charCodeAt(0));
      this.tell('message', value);
    }
  }

  send(value) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(value));
    return true;
  }

  close() {
    if (this.listeners.signal.aborted) return;
    this.listeners.abort();
    this.drop();
    this.tell('state', 'closed');
  }

  tell(event, ...values) { this.handlers[event]?.(...values); }
}

if (typeof module !== 'undefined') module.exports = {RoomsClient};
