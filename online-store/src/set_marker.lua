-- Sets a view's marker unless that would move it back. KEYS[1]: the marker, a hash. ARGV: json, run, as_of in whole
-- seconds and microseconds, full_as_of likewise, the id of the server process that the run began with, and the run whose
-- marker must stand: absent to create a marker.
-- Returns 1 if the marker now stands (also if it did already), 0 if another one does, -1 if this is not the data that the
-- run began with: then what it wrote may be lost.
local json, run, server, previous_run = ARGV[1], ARGV[2], ARGV[7], ARGV[8]
local stored = redis.call('HMGET', KEYS[1], 'run', 'as_of_s', 'as_of_us', 'full_as_of_s', 'full_as_of_us', 'json', 'writing')
if stored[6] == json then return 1 end
if previous_run and stored[1] ~= previous_run then return 0 end

-- A flush takes the note of who is writing with it; a restart or a failover may lose the newest writes and keep the note.
if stored[7] ~= run then return -1 end
if not string.find(redis.call('INFO', 'server'), 'run_id:' .. server, 1, true) then return -1 end

-- Numbers, never strings: Lua compares strings by the server's locale. Seconds and microseconds fit a double exactly. What
-- is no number was damaged, and nothing is earlier.
local function is_later(stored_s, stored_us, s, us)
  stored_s, stored_us = tonumber(stored_s) or -math.huge, tonumber(stored_us) or -math.huge
  s, us = tonumber(s), tonumber(us)
  if stored_s ~= s then return stored_s > s end
  return stored_us > us
end

if stored[1] then
  if is_later(stored[2], stored[3], ARGV[3], ARGV[4]) then return 0 end
  if is_later(stored[4], stored[5], ARGV[5], ARGV[6]) then return 0 end
end
redis.call('HSET', KEYS[1], 'json', json, 'run', run, 'as_of_s', ARGV[3], 'as_of_us', ARGV[4],
  'full_as_of_s', ARGV[5], 'full_as_of_us', ARGV[6])
redis.call('HDEL', KEYS[1], 'writing')
return 1
