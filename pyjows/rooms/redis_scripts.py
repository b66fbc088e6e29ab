"""The scripts that change what rooms have in Redis (`redis.py` lists the keys), in Lua.

Owns each change as one step that nothing can interrupt. Must not know the connection that runs it.
"""

from __future__ import annotations

import hashlib

__all__ = ['SCRIPTS', 'SHA']

# How the count of a room begins, goes on, or begins anew; also where another program has overwritten it.
# ARGV: 1 a new epoch, 2 the server: its run id, `aof:` and its run id, `unknown`, or '' to have the script look.
# The count goes on in the same run; in another run if the append-only file was on in both. All processes come to the
# same result, also where some of them were connected before the append-only file was turned on.
_COUNT = """
local server = ARGV[2]
if server == '' then server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or '' end
local run = string.match(server, '[^:]*$')
local lasts = string.sub(server, 1, 4) == 'aof:'
local function begin(log, meta)
  redis.call('DEL', log, meta)
  redis.call('HSET', meta, 'epoch', ARGV[1], 'offset', 0, 'server', server)
  return ARGV[1], 0
end
local function count(log, meta)
  local found = redis.pcall('HMGET', meta, 'epoch', 'offset', 'server')
  if found.err or not found[1] then return begin(log, meta) end
  local before = found[3] or ''
  if before ~= server and run ~= 'unknown' then
    local lasted = string.sub(before, 1, 4) == 'aof:'
    if string.match(before, '[^:]*$') ~= run and not (lasts and lasted) then return begin(log, meta) end
    if lasts then redis.pcall('HSET', meta, 'server', server) end
  end
  if not string.match(found[1], '^[0-9a-f]+$') or #found[1] > 32 then return begin(log, meta) end
  if not string.match(found[2] or '', '^%d+$') or #found[2] > 15 then return begin(log, meta) end
  return found[1], tonumber(found[2])
end
"""

# Publishes messages, of several rooms where they are on one server. A refused one does not keep the next from being
# published: the reply has an offset (0 for one that was published before) or an error for each.
# `make_room` removes what another program has put where the next entry of the stream belongs.
# A last number that is ahead by 10**9 is not of the process. One that is ahead by less is: a connection that was given
# up may deliver its last batch after the next one has sent it again.
# KEYS, for each: log, meta, from. ARGV from 3 on, for each: size, seconds, number, kind and payload.
_PUBLISH = (
    _COUNT
    + """
local clock = redis.call('TIME')
local now = clock[1] .. string.format('%03d', math.floor(clock[2] / 1000)) .. ' '
local function make_room(log, offset)
  local last = string.format('%.0f-18446744073709551615', offset - 1)
  local found = redis.pcall('XRANGE', log, '(' .. last, '+', 'COUNT', 1000)
  if found.err or #found == 1000 then return redis.call('DEL', log) end
  for _, entry in ipairs(found) do redis.call('XDEL', log, entry[1]) end
  redis.call('XSETID', log, last)
end
local function publish(log, meta, from, size, seconds, number, said)
  local last = redis.pcall('GET', from)
  last = type(last) == 'string' and tonumber(last)
  if last and last >= tonumber(number) and last < tonumber(number) + 1e9 then return 0 end
  local epoch = count(log, meta)
  local offset = redis.call('HINCRBY', meta, 'offset', 1)
  local place = string.format('%.0f', offset)
  if tonumber(size) > 0 then
    local added = redis.pcall('XADD', log, 'MAXLEN', size, place .. '-0', 'm', now .. said)
    if type(added) == 'table' and added.err then
      make_room(log, offset)
      redis.call('XADD', log, 'MAXLEN', size, place .. '-0', 'm', now .. said)
    end
    redis.call('EXPIRE', log, seconds)
  end
  redis.call('EXPIRE', meta, seconds + 86400)
  redis.call('SET', from, number, 'EX', 300)
  redis.call('PUBLISH', string.sub(log, 1, -5), 'm' .. epoch .. ':' .. place .. ' ' .. now .. said)
  return offset
end
local found = {}
for i = 1, #KEYS / 3 do
  local k, a = 3 * i, 4 * i - 1
  local ok, result = pcall(publish, KEYS[k - 2], KEYS[k - 1], KEYS[k], ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3])
  if not ok and type(result) ~= 'table' then result = {err = result} end
  found[i] = result
end
return found
"""
)

# The count has gone back where the known offset is ahead of it, or is that of a message of another time: then it begins
# anew, so that every process is told.
# KEYS: log, meta. ARGV: 3 known epoch, 4 known offset, 5 how many at most, 6 seconds, 7 the time of the message at the
# known offset in milliseconds, or -1.
_LOAD = (
    _COUNT
    + """
local epoch, offset = count(KEYS[1], KEYS[2])
local function has_gone_back()
  if offset < tonumber(ARGV[4]) then return true end
  if ARGV[7] == '-1' then return false end
  local place = string.format('%.0f-0', tonumber(ARGV[4]))
  local found = redis.pcall('XRANGE', KEYS[1], place, place)
  if found.err or not found[1] then return false end
  return string.match(found[1][2][2] or '', '^%d+') ~= ARGV[7]
end
if epoch == ARGV[3] and has_gone_back() then epoch, offset = begin(KEYS[1], KEYS[2]) end
local longest = tonumber(ARGV[6]) + 86400
if redis.call('TTL', KEYS[2]) < longest then redis.call('EXPIRE', KEYS[2], longest) end
local first = '-'
if epoch == ARGV[3] then first = string.format('%.0f-0', tonumber(ARGV[4]) + 1) end
local entries = {}
if tonumber(ARGV[5]) > 0 then
  entries = redis.pcall('XREVRANGE', KEYS[1], string.format('%.0f-0', offset), first, 'COUNT', ARGV[5])
  if entries.err then entries = {} end
end
return {epoch, offset, entries, redis.call('TIME')}
"""
)

# Milliseconds since 1970, by Redis' clock.
_NOW = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
"""

# Removes a key that another program has made with another type.
_OWN = """
local function own(key, kind)
  local found = redis.call('TYPE', key)['ok']
  if found ~= kind and found ~= 'none' then redis.call('DEL', key) end
end
"""

# KEYS: here, live. ARGV: 1 process, 2 milliseconds, 3 channel, 4 id, 5 info.
_ENTER = (
    _NOW
    + _OWN
    + """
own(KEYS[1], 'hash')
own(KEYS[2], 'zset')
redis.call('HSET', KEYS[1], ARGV[4], ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[2]) * 2)
redis.call('PUBLISH', ARGV[3], 'j' .. ARGV[1] .. ' ' .. ARGV[4] .. ' ' .. ARGV[5])
"""
)

_LEAVE = (
    _OWN
    + """
own(KEYS[1], 'hash')
own(KEYS[2], 'zset')
redis.call('HDEL', KEYS[1], ARGV[4])
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) end
redis.call('PUBLISH', ARGV[3], 'l' .. ARGV[1] .. ' ' .. ARGV[4])
"""
)

# ARGV from 4 on: id, info, id, info …
_DECLARE = (
    _NOW
    + _OWN
    + """
own(KEYS[2], 'zset')
redis.call('DEL', KEYS[1])
for i = 4, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
if #ARGV > 3 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  redis.call('ZADD', KEYS[2], now + tonumber(ARGV[2]), ARGV[1])
  redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[2]) * 2)
else
  redis.call('ZREM', KEYS[2], ARGV[1])
end
redis.call('PUBLISH', ARGV[3], 'h' .. ARGV[1])
"""
)

# ARGV: 1 process, 2 milliseconds, 3 how many members it has, -1 for some, 4 what the keys of the members begin with.
_REFRESH = (
    _NOW
    + _OWN
    + """
own(KEYS[1], 'hash')
own(KEYS[2], 'zset')
local there = 1
local members = tonumber(ARGV[3])
if members ~= 0 then
  there = redis.call('PEXPIRE', KEYS[1], ARGV[2])
  if there == 1 then
    redis.call('ZADD', KEYS[2], now + tonumber(ARGV[2]), ARGV[1])
    redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[2]) * 2)
    if members > 0 and redis.call('HLEN', KEYS[1]) ~= members then there = 0 end
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local found = {}
for i, process in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local size = redis.pcall('HLEN', ARGV[4] .. process)
  found[i] = {process, type(size) == 'number' and size or 0}
end
return {there, found}
"""
)

# KEYS: live. ARGV: 1 what the keys of the members begin with.
_ROSTER = (
    _NOW
    + _OWN
    + """
own(KEYS[1], 'zset')
local found = {}
for _, process in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf')) do
  local members = redis.pcall('HGETALL', ARGV[1] .. process)
  if not members.err then found[#found + 1] = {process, members} end
end
return found
"""
)

#: By name.
SCRIPTS = {
    'publish': _PUBLISH,
    'load': _LOAD,
    'enter': _ENTER,
    'leave': _LEAVE,
    'declare': _DECLARE,
    'refresh': _REFRESH,
    'roster': _ROSTER,
}
#: By name, what `EVALSHA` calls them by.
SHA = {name: hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest() for name, script in SCRIPTS.items()}
