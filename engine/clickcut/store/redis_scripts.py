"""What the Redis store does, as Lua: each script runs as a whole or not at all.

When its memory is full, Redis refuses the first write of a script, if that is one that takes
memory, and lets the others pass. So a script that fails has changed nothing; and taking a session
begins with a write that takes none, because sessions must be resumed even then.

Keys, all of them after `clickcut:FORMAT:`. `session:ID` is a hash, `events:ID` a list; both expire.
`image:OWNER:DIGEST` is a file; `images:OWNER` has the last use of each as a score, `sizes` the
bytes of each, `image-bytes` the sum of each owner; `uses:OWNER:DIGEST` is the set of sessions on
it. `charges` has what each session counts for in its owner's share, by OWNER:ID, `session-bytes`
the sum of each owner; sessions that expired are subtracted by `FORGET`.
"""

CREATE = """
local session, image, images = KEYS[1], KEYS[2], KEYS[3]
local owner, charge, share = ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
if redis.call('EXISTS', image) == 0 then return 'image' end
local held = tonumber(redis.call('HGET', KEYS[6], owner) or 0)
if share >= 0 and held + charge > share then return 'share' end
redis.call('HSET', session, 'owner', ARGV[2], 'digest', ARGV[3], 'model', ARGV[4],
           'start', ARGV[5], 'image', ARGV[6], 'epoch', 1, 'nbytes', 0)
redis.call('PEXPIRE', session, ARGV[7])
redis.call('SADD', KEYS[4], ARGV[1])
redis.call('ZADD', images, redis.call('TIME')[1], ARGV[6])
redis.call('HSET', KEYS[5], owner .. ':' .. ARGV[1], charge)
redis.call('HINCRBY', KEYS[6], owner, charge)
return 'ok'
"""

APPEND = """
local session, events = KEYS[1], KEYS[2]
local epoch = redis.call('HGET', session, 'epoch')
if not epoch then return 'gone' end
if epoch ~= ARGV[1] then return 'taken' end
local position, expected = redis.call('LLEN', events), tonumber(ARGV[2])
local same = position == expected + 1 and redis.call('LINDEX', events, -1) == ARGV[3]
if not same then
  if position ~= expected then return 'at ' .. position end
  local nbytes = redis.call('HGET', session, 'nbytes') + #ARGV[3]
  if nbytes > tonumber(ARGV[4]) then return 'large' end
  local owner = string.match(redis.call('HGET', session, 'image'), '^[^:]+')
  local charge, share = tonumber(ARGV[7]) + #ARGV[3], tonumber(ARGV[8])
  local held = tonumber(redis.call('HGET', KEYS[4], owner) or 0)
  if share >= 0 and held + charge > share then return 'share' end
  redis.call('RPUSH', events, ARGV[3])
  redis.call('HSET', session, 'nbytes', nbytes)
  redis.call('HINCRBY', KEYS[3], owner .. ':' .. ARGV[6], charge)
  redis.call('HINCRBY', KEYS[4], owner, charge)
end
redis.call('PEXPIRE', session, ARGV[5])
redis.call('PEXPIRE', events, ARGV[5])
return 'ok'
"""

DROP = """
local image = redis.call('HGET', KEYS[1], 'image')
redis.call('DEL', KEYS[1], KEYS[2])
if image then
  redis.call('SREM', ARGV[2] .. image, ARGV[1])
  local owner = string.match(image, '^[^:]+')
  local name = owner .. ':' .. ARGV[1]
  local charge = tonumber(redis.call('HGET', KEYS[3], name) or 0)
  redis.call('HDEL', KEYS[3], name)
  redis.call('HINCRBY', KEYS[4], owner, -charge)
end
return 'ok'
"""

FORGET = """
for _, name in ipairs(ARGV) do
  local owner, session = string.match(name, '^([^:]+):(.*)$')
  if redis.call('EXISTS', KEYS[3] .. session) == 0 then
    local charge = tonumber(redis.call('HGET', KEYS[1], name) or 0)
    if redis.call('HDEL', KEYS[1], name) == 1 then
      redis.call('HINCRBY', KEYS[2], owner, -charge)
    end
  end
end
return 'ok'
"""

LOAD = """
local session, events = KEYS[1], KEYS[2]
if redis.call('HGET', session, 'owner') ~= ARGV[1] then return false end
if ARGV[3] == '1' then
  redis.call('PEXPIRE', session, ARGV[4])
  redis.call('PEXPIRE', events, ARGV[4])
  redis.call('HINCRBY', session, 'epoch', 1)
end
local fields = redis.call('HMGET', session, 'digest', 'model', 'start', 'epoch')
return {fields[1], fields[2], fields[3], fields[4], redis.call('LLEN', events),
        redis.call('LRANGE', events, ARGV[2], -1)}
"""

TOUCH_IMAGE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('ZADD', KEYS[2], redis.call('TIME')[1], ARGV[1])
return 1
"""

PUT_IMAGE = """
local image, images, sizes, sums, name = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1]
local size, owner, share = #ARGV[2], ARGV[4], tonumber(ARGV[5])
if redis.call('EXISTS', image) == 1 then return 'ok' end
local held = tonumber(redis.call('HGET', sums, owner) or 0)
if share >= 0 and held + size > share then return 'share' end
local total = 0
for _, nbytes in ipairs(redis.call('HVALS', sums)) do total = total + nbytes end
if total + size > tonumber(ARGV[3]) then return 'full' end
redis.call('SET', image, ARGV[2])
redis.call('HSET', sizes, name, size)
redis.call('HINCRBY', sums, owner, size)
redis.call('ZADD', images, redis.call('TIME')[1], name)
return 'ok'
"""
"""Returns 'share' or 'full' when room must be made first: among the owner's images, or all."""

PRUNE_IMAGES = """
local images, sizes, sums = KEYS[1], KEYS[2], KEYS[3]
local prefix, wanted, seconds = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = tonumber(redis.call('TIME')[1])
local offset = tonumber(ARGV[4])
local freed, kept = 0, 0
for _, name in ipairs(redis.call('ZRANGE', images, offset, offset + 99)) do
  local old = now - redis.call('ZSCORE', images, name) > seconds
  if freed < wanted or old then
    local uses = prefix .. 'uses:' .. name
    local used = false
    for _, session in ipairs(redis.call('SMEMBERS', uses)) do
      if redis.call('EXISTS', prefix .. 'session:' .. session) == 1 then
        used = true
      else
        redis.call('SREM', uses, session)
      end
    end
    if used then
      kept = kept + 1
    else
      local size = tonumber(redis.call('HGET', sizes, name) or 0)
      redis.call('DEL', prefix .. 'image:' .. name, uses)
      redis.call('ZREM', images, name)
      redis.call('HDEL', sizes, name)
      redis.call('HINCRBY', sums, string.match(name, '^[^:]+'), -size)
      freed = freed + size
    end
  else
    return {freed, -1}
  end
end
if kept == 0 and freed == 0 then return {0, -1} end
return {freed, kept}
"""
"""Looks at the 100 images of an owner from an offset on that are unused for longest. Returns the
bytes freed and how many images were kept, by which to go on; -1 when there is nothing more to look
at."""
