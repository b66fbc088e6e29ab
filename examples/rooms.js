/* A client of pyjows' rooms for the browser: it connects, and connects again when the connection is lost.
 *
 *     const client = new RoomsClient('wss://example.com/chat', {
 *       message: ({room, position, data}) => …,    // of a numbered member; data is bytes (Uint8Array) for binary ones
 *       recovered: ({room, recovered}) => …,       // false: messages are lost, ask the server for the whole state
 *       other: value => …,                         // whatever else the server sends, as JSON
 *       state: (state, why) => …,                  // 'connecting', 'open', 'waiting' (why: {delay, code, reason}), 'closed'
 *       open: client => client.send({…}),          // each time it is connected: say who you are
 *     });
 *     client.send({type: 'say', text: 'hello'});   // false while it is not connected
 *     client.close();
 *
 * It remembers the last position of each room, and sends them as ?since=room@epoch:offset,… when it connects again;
 * the server hands them to join(since=ws.req.query_params.get('since')), and what was missed comes first.
 */
'use strict';

class RoomsClient {
  constructor(url, handlers = {}, {first = 400, longest = 8000} = {}) {
    this.url = url;
    this.handlers = handlers;
    this.positions = new Map();
    this.first = first;          // milliseconds until the second try; doubled each time, up to the longest
    this.longest = longest;
    this.tries = 0;
    this.ended = false;
    this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    this.tell('state', 'connecting');
    const socket = this.socket = new WebSocket(this.resumingUrl());
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      this.tell('state', 'open');
      this.tell('open', this);
    };
    socket.onmessage = event => this.received(event.data);
    socket.onclose = event => {
      if (socket === this.socket) this.lost(event);
    };
  }

  resumingUrl() {
    const url = new URL(this.url);
    if (this.positions.size) {
      url.searchParams.set('since', [...this.positions].map(([room, position]) => `${room}@${position}`).join(','));
    }
    return url.href;
  }

  lost({code, reason} = {}) {
    if (this.ended) {
      this.tell('state', 'closed');
      return;
    }
    const delay = Math.min(this.longest, this.first * 2 ** this.tries++) * (0.75 + Math.random() / 2);
    this.timer = setTimeout(() => this.connect(), delay);
    this.tell('state', 'waiting', {delay, code, reason});
  }

  received(data) {
    this.tries = 0;
    if (typeof data !== 'string') {
      this.tell('other', new Uint8Array(data));
      return;
    }
    const value = JSON.parse(data);
    if (value === null || typeof value.room !== 'string' || typeof value.position !== 'string') {
      this.tell('other', value);
      return;
    }
    this.positions.set(value.room, value.position);
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
    this.ended = true;
    clearTimeout(this.timer);
    this.socket.close();
  }

  tell(event, ...values) { this.handlers[event]?.(...values); }
}

if (typeof module !== 'undefined') module.exports = {RoomsClient};
