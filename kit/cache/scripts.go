package cache

import (
	"crypto/sha1"
	"encoding/hex"
)

// script is a Lua script and the hash by which Redis knows it.
type script struct{ text, hash string }

func newScript(text string) script {
	sum := sha1.Sum([]byte(text))
	return script{text, hex.EncodeToString(sum[:])}
}

// A key of the cache is one hash in Redis, and so in one slot of a cluster:
//
//	d  the record                      v  its version (20 digits, as all versions and epochs: they are compared as strings)
//	x  fresh until (ms)                e  the epoch in which its load began
//	b  when its load began (ms)        c  what the load took (ms)
//	f  floor: no version below it      z  1 if the floor is that of a deletion: then f itself is too old as well
//	o  token of the lease              g, u  when the lease was granted, and until when it is good (ms)
//
// All times are Redis's own, so that no two clocks are compared. Versions are strings because Lua's numbers have 53 bits.
const luaNow = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function int(n) return string.format('%.0f', n) end
local function live(key, ms) if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, int(ms)) end end
`

// What readScript finds.
const (
	foundFresh   = 0
	foundRefresh = 1 // fresh, and the lease granted to load it again early
	foundLease   = 2 // nothing fresh, and the lease granted
	foundBusy    = 3 // nothing fresh, and somebody else has the lease
)

// readScript: KEYS key; ARGV token, ms of a lease, epoch, factor of early refresh.
// Returns what was found, the record or "", its age, how long it is fresh, how long the lease is good (ms).
var readScript = newScript(luaNow + `
local r = redis.call('HMGET', KEYS[1], 'd', 'x', 'e', 'b', 'c', 'o', 'u')
local left, busy = 0, 0
if r[1] and (r[3] or '') >= ARGV[3] then left = math.max(0, tonumber(r[2] or 0) - now) end
if r[6] then busy = math.max(0, tonumber(r[7] or 0) - now) end
local found = 3
if left > 0 then
	found = 0
	if busy == 0 and left < tonumber(r[5] or 0) * tonumber(ARGV[4]) then found = 1 end
elseif busy == 0 then
	found = 2
end
if found == 1 or found == 2 then
	local ms = tonumber(ARGV[2])
	redis.call('HSET', KEYS[1], 'o', ARGV[1], 'g', int(now), 'u', int(now + ms))
	live(KEYS[1], ms)
end
return {found, r[1] or '', math.max(0, now - tonumber(r[4] or now)), left, busy}
`)

// What fillScript says.
const (
	fillLost   = 0 // the lease is not ours any more: the key was changed, forgotten, or we were too slow
	fillDone   = 1
	fillBehind = 2 // a newer version is known to exist; the lease is kept for another try
)

// fillScript: KEYS key; ARGV token, record, version, epoch, ms it is fresh, ms it is kept after that, 1 for a value and 0 for none.
// Returns what became of it, and how long it is fresh (ms).
var fillScript = newScript(luaNow + `
local r = redis.call('HMGET', KEYS[1], 'o', 'g', 'f', 'z', 'v', 'e')
if r[1] ~= ARGV[1] then return {0, 0} end
local none = string.rep('0', 20)
local floor = r[3] or none
if ARGV[7] == '0' then
	if floor ~= none and r[4] ~= '1' then return {2, 0} end
elseif ARGV[3] ~= none then
	if ARGV[3] < floor or (ARGV[3] == floor and r[4] == '1') then return {2, 0} end
	if r[5] and ARGV[3] < r[5] and r[6] and r[6] >= ARGV[4] then return {2, 0} end
end
local begun = tonumber(r[2])
local left = begun + tonumber(ARGV[5]) - now
redis.call('HDEL', KEYS[1], 'o', 'g', 'u')
if left <= 0 then return {0, 0} end
redis.call('HSET', KEYS[1], 'd', ARGV[2], 'v', ARGV[3], 'e', ARGV[4], 'x', int(now + left), 'b', int(begun), 'c', int(now - begun))
live(KEYS[1], left + tonumber(ARGV[6]))
return {1, left}
`)

// releaseScript gives a lease back: KEYS key; ARGV token.
var releaseScript = newScript(`
if redis.call('HGET', KEYS[1], 'o') ~= ARGV[1] then return 0 end
return redis.call('HDEL', KEYS[1], 'o', 'g', 'u')
`)

// discardScript removes a record that cannot be read, if it is still there: KEYS key; ARGV record.
var discardScript = newScript(`
if redis.call('HGET', KEYS[1], 'd') ~= ARGV[1] then return 0 end
return redis.call('HDEL', KEYS[1], 'd', 'v', 'e', 'x', 'b', 'c')
`)

// dropScript is an event: KEYS key; ARGV version, 1 for a deletion, ms for which a floor is kept, 1 if the record is kept as stale.
// A record that has the change already stays. Otherwise the lease ends, so that no load that began before can fill.
var dropScript = newScript(luaNow + `
local r = redis.call('HMGET', KEYS[1], 'd', 'v', 'f', 'z')
local none = string.rep('0', 20)
local version, deleted = ARGV[1], ARGV[2] == '1'
if version ~= none then
	if r[1] and r[2] and (r[2] > version or (r[2] == version and not deleted)) then return 0 end
	if not r[3] or version > r[3] then
		redis.call('HSET', KEYS[1], 'f', version)
		if deleted then redis.call('HSET', KEYS[1], 'z', '1') else redis.call('HDEL', KEYS[1], 'z') end
	elseif version == r[3] and deleted then
		redis.call('HSET', KEYS[1], 'z', '1')
	end
	live(KEYS[1], tonumber(ARGV[3]))
end
redis.call('HDEL', KEYS[1], 'o', 'g', 'u')
if ARGV[4] == '1' and r[1] then
	redis.call('HSET', KEYS[1], 'x', '0')
else
	redis.call('HDEL', KEYS[1], 'd', 'v', 'e', 'x', 'b', 'c')
end
return 1
`)

// The feed is a stream of what was changed, numbered without holes, and a hash of its generation, last number, and the epoch. Its scripts begin with the
// same arguments: a random word, which is the generation if there is none, and the mark of what is added; the length of the feed; and what the
// node knows of it: the generation, the last number that was given, and its mark ("" if unknown).
// If Redis remembers less than that, or something else under the number since it has gone on meanwhile, it has lost changes, and perhaps forgotten
// deletions: a new epoch begins.
const luaFeed = luaNow + `
if redis.call('HEXISTS', KEYS[1], 'gen') == 0 then
	redis.call('DEL', KEYS[2])
	redis.call('HSET', KEYS[1], 'gen', ARGV[1], 'seq', '0', 'epoch', int(now))
end
local h = redis.call('HMGET', KEYS[1], 'gen', 'seq', 'epoch')
local gen, seq, epoch = h[1], tonumber(h[2]), tonumber(h[3])
local function add(...)
	seq = seq + 1
	redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], int(seq) .. '-0', 'm', ARGV[1], ...)
end
local function bump()
	epoch = math.max(epoch + 1, now)
	add('b', '1')
end
local function save() redis.call('HSET', KEYS[1], 'seq', int(seq), 'epoch', int(epoch)) end
if gen == ARGV[3] then
	local known = tonumber(ARGV[4])
	local lost = seq < known
	if not lost and known > 0 and ARGV[5] ~= '' then
		local e = redis.call('XRANGE', KEYS[2], ARGV[4] .. '-0', ARGV[4] .. '-0')
		lost = #e == 1 and e[1][2][1] == 'm' and e[1][2][2] ~= ARGV[5]
	end
	if lost then
		redis.call('DEL', KEYS[2])
		seq = math.max(seq, known)
		bump()
		save()
	end
end
`

// publishScript: KEYS head, feed; ARGV those of the feed, 1 to begin a new epoch, then for each event its key, version, 1 for a deletion, time (ms).
// Returns generation, last number, epoch.
var publishScript = newScript(luaFeed + `
if ARGV[6] == '1' then bump() end
for i = 7, #ARGV, 4 do add('k', ARGV[i], 'v', ARGV[i+1], 'd', ARGV[i+2], 't', ARGV[i+3]) end
save()
return {gen, int(seq), int(epoch)}
`)

// followScript: KEYS head, feed; ARGV those of the feed, the last number read, the next one, how many.
// Returns generation, last number, epoch, entries.
var followScript = newScript(luaFeed + `
local entries = {}
if seq > tonumber(ARGV[6]) then
	entries = redis.call('XRANGE', KEYS[2], ARGV[7] .. '-0', '+', 'COUNT', ARGV[8])
end
return {gen, int(seq), int(epoch), entries}
`)
