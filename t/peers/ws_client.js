// Node's ws as a puppet: commands come as JSON lines on stdin, what happens goes out as JSON lines on stdout.
//
//     node ws_client.js URL '{"protocols": [], "headers": {}, "compression": true}'     NODE_PATH says where ws is
//
// CERT and KEY are the files of a client's certificate; NODE_EXTRA_CA_CERTS, which is Node's own, of an authority.
'use strict';

const fs = require('node:fs');
const WebSocket = require('ws');
const readline = require('node:readline');

const [, , url, json] = process.argv;
const options = JSON.parse(json);
const tell = (what) => process.stdout.write(JSON.stringify(what) + '\n');

const ws = new WebSocket(url, options.protocols, {
  headers: options.headers,
  perMessageDeflate: options.compression && { threshold: 0 },
  maxPayload: 64 * 1024 * 1024,
  ...(process.env.CERT && { cert: fs.readFileSync(process.env.CERT), key: fs.readFileSync(process.env.KEY) }),
});

ws.on('upgrade', (response) => tell({ event: 'upgrade', headers: response.headers }));
ws.on('open', () => tell({ event: 'open', protocol: ws.protocol, extensions: ws.extensions }));
ws.on('message', (data, binary) => tell({ event: 'message', binary, data: data.toString('base64') }));
ws.on('ping', (data) => tell({ event: 'ping', data: data.toString('base64') }));
ws.on('pong', (data) => tell({ event: 'pong', data: data.toString('base64') }));
ws.on('close', (code, reason) => tell({ event: 'close', code, reason: reason.toString() }));
ws.on('error', (error) => tell({ event: 'error', message: error.message }));

const commands = {
  send: ({ data, binary, fin }) => ws.send(Buffer.from(data, 'base64'), { binary, fin, compress: options.compression }),
  ping: ({ data }) => ws.ping(Buffer.from(data, 'base64')),
  close: ({ code, reason }) => ws.close(code, reason),
};

const lines = readline.createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const command = JSON.parse(line);
  commands[command.do](command);
});
lines.on('close', () => process.exit());
