package quotas

import (
	"crypto/sha1"
	"encoding/hex"
)

// script is a program that the store runs. It is called by the hash of its text; a store that does not know it is sent the text.
type script struct{ text, hash string }

func newScript(text string) *script {
	sum := sha1.Sum([]byte(text))
	return &script{text, hex.EncodeToString(sum[:])}
}

// scripts are what a link calls.
type scripts struct{ settle, admit, enrol *script }

func newScripts() scripts {
	return scripts{newScript(settleText), newScript(admitText), newScript(enrolText)}
}

// settleText is quota.Ledger.Settle, line by line, and its twin in the tests. A key is a hash: f is the credits in the bucket, a the time of
// the last report, and each other field a node, with account, serial, granted, spent, owed, want and the end of its lease.
// All numbers are whole and below 2^53, where floating point is exact.
const settleText = `
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local fill, token, burst, lease = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local node, account, serial = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local granted, spent, owed = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local settled, want, known = tonumber(ARGV[11]), tonumber(ARGV[12]), ARGV[13] == '1'
local full = burst * token

local free, at, out = nil, now, 0
local nodes, ended = {}, {}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local name, value = fields[i], fields[i + 1]
  if name == 'f' then
    free = tonumber(value)
  elseif name == 'a' then
    at = tonumber(value)
  else
    local e = {}
    for number in string.gmatch(value, '%-?%d+') do e[#e + 1] = tonumber(number) end
    e.out = math.max(e[3] - e[4], 0)
    out = out + e.out
    nodes[name] = e
  end
end

if nodes[node] ~= nil and serial <= nodes[node][2] then return {1, 0, 0, 0, 0, 0} end
local lost = 0
if free == nil then
  free = full
  if known then free, lost = 0, 1 end
end
if now < at then
  for _, e in pairs(nodes) do
    if e[7] > now + lease then e[7], e.moved = now + lease, true end
  end
  at = now
end

local function pour(to)
  local passed = math.min(to - at, math.floor(2 * full / fill) + 1)
  at = math.max(to, at)
  local room = full - out * token - free
  if passed > 0 and room > 0 then free = free + math.min(room, passed * fill) end
end
while true do
  local first, name = nil, nil
  for n, e in pairs(nodes) do
    if e[7] <= now and (first == nil or e[7] < first[7]) then first, name = e, n end
  end
  if first == nil then break end
  pour(first[7])
  out = out - first.out
  nodes[name] = nil
  ended[#ended + 1] = name
end
pour(now)

local e = nodes[node]
if e ~= nil and account == e[1] then
  free = free + (e[3] - granted - (owed - e[5])) * token
else
  free = free - (owed - settled) * token
end
if e ~= nil then out = out - e.out end
nodes[node] = nil
local wants, count = want, 1
for _, other in pairs(nodes) do
  wants = wants + other[6]
  count = count + 1
end
free = math.max(math.min(free, full - (out + math.max(granted - spent, 0)) * token), -full)

local there, grant = math.floor(free / token), 0
if there >= 1 and want >= 1 then
  grant = want
  if wants > there then grant = math.min(want, math.max(1, math.floor(there * want / wants))) end
end
free = free - grant * token
granted = granted + grant
local wait = 0
if want > grant and free < token then wait = math.floor((token - free - 1) / fill) + 1 end

for _, name in ipairs(ended) do
  if name ~= node then redis.call('HDEL', KEYS[1], name) end
end
local function text(e) return string.format('%.0f %.0f %.0f %.0f %.0f %.0f %.0f', unpack(e)) end
for name, e in pairs(nodes) do
  if e.moved then redis.call('HSET', KEYS[1], name, text(e)) end
end
redis.call('HSET', KEYS[1], 'f', string.format('%.0f', free), 'a', string.format('%.0f', at),
  node, text({account, serial, granted, spent, owed, want, now + lease}))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((lease + math.floor((full - free) / fill) + 1 + 1000000) / 1000)))
return {0, granted, count, wait, math.floor(free / token), lost}
`

// admitText is quota.Log.Admit. A key is a sorted set of the times at which requests were admitted.
const admitText = `
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local window, count, n = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local function whole(x) return string.format('%.0f', x) end

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now - window))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. whole(now + 1000000), '+inf')
local used = redis.call('ZCARD', KEYS[1])
local admitted = math.max(math.min(n, count - used), 0)
local at = now
if used > 0 then at = math.max(at, redis.call('ZRANGE', KEYS[1], -1, -1)[1] + 1) end
for i = 0, admitted - 1 do redis.call('ZADD', KEYS[1], whole(at + i), whole(at + i)) end
used = used + admitted
if admitted > 0 then redis.call('PEXPIRE', KEYS[1], whole(math.ceil(window / 1000) + 2000)) end
local wait = 0
if used >= count and used > 0 then
  local next = redis.call('ZRANGE', KEYS[1], used - count, used - count)[1]
  wait = math.max(next + window - now, 0)
end
return {admitted, used, wait}
`

// enrolText counts the nodes that have a rule: a sorted set of nodes by when they were last heard of.
const enrolText = `
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local node, keep, leaving = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local function whole(x) return string.format('%.0f', x) end

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now - keep))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. whole(now + 1000), '+inf')
if leaving then
  redis.call('ZREM', KEYS[1], node)
else
  redis.call('ZADD', KEYS[1], whole(now), node)
  redis.call('PEXPIRE', KEYS[1], whole(keep))
end
return redis.call('ZCARD', KEYS[1])
`
