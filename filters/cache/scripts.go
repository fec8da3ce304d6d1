package cache

// What Redis runs. Times are those of its own clock in milliseconds, so that nodes need not agree on one: a node says how long ago it
// asked, and never when. All numbers are whole and below 2^53, where floating point is exact.
//
// The responses of one URL are one key, a hash: field v is what the newest of them varies by, g when the URL was purged, and each other
// field a response, with when it was asked for and when it was stored before its record.

// stampLen is the length of one of the two times before a record.
const stampLen = 16

// readText returns the time, what the newest response varies by, and the response in a field, if that is one for the requests that
// are asked for. KEYS: the URL's. ARGV: the field, what it varies by.
const readText = `
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local got = redis.call('HMGET', KEYS[1], 'v', ARGV[1])
local vary, record = got[1] or '', got[2] or ''
if vary ~= ARGV[2] then
  record = ''
end
return {string.format('%.0f', now), vary, record}`

// storeText stores a response, unless its URL was purged after it was asked for. With too many responses under one URL those that are
// there go. KEYS: the URL's. ARGV: how long ago it was asked for, how long it is worth keeping, its field, what it varies by, the record,
// how many responses a URL may have.
const storeText = `
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local began = now - tonumber(ARGV[1])
local gone = redis.call('HGET', KEYS[1], 'g')
if gone and began <= (tonumber(gone) or 0) then
  return 0
end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[6]) and redis.call('HEXISTS', KEYS[1], ARGV[3]) == 0 then
  redis.call('DEL', KEYS[1])
  if gone then
    redis.call('HSET', KEYS[1], 'g', gone)
  end
end
redis.call('HSET', KEYS[1], 'v', ARGV[4], ARGV[3], string.format('%016.0f%016.0f', began, now) .. ARGV[5])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1`

// purgeURLText takes out the responses of a URL, and leaves a note that those asked for before are not to be stored any more. KEYS: the
// URL's. ARGV: how long the note stays.
const purgeURLText = `
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'g', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1`

// noteText tells all nodes of a purge: it is put into a stream, with a number that grows by one, by which a node sees whether it has
// missed some. KEYS: the number, the stream. ARGV: how many the stream keeps, how long both are kept, the node, the kind, the value.
const noteText = `
local n = redis.call('INCR', KEYS[1])
local id = redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'n', n, 'by', ARGV[3], 'kind', ARGV[4], 'value', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return id`
