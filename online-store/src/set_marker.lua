-- Sets a view's marker unless that would move it back. KEYS[1]: the marker, a hash. ARGV: json, run, as_of in whole
-- seconds and microseconds, full_as_of likewise, and the run whose marker must stand: absent to create a marker.
-- Returns 1 if the marker now stands (also if it did already), else 0.
local json, run, previous_run = ARGV[1], ARGV[2], ARGV[7]
local stored = redis.call('HMGET', KEYS[1], 'run', 'as_of_s', 'as_of_us', 'full_as_of_s', 'full_as_of_us', 'json')
if stored[6] == json then return 1 end
if previous_run and stored[1] ~= previous_run then return 0 end

-- Numbers, never strings: Lua compares strings by the server's locale. Seconds and microseconds fit a double exactly.
local function is_later(stored_s, stored_us, s, us)
  stored_s, stored_us, s, us = tonumber(stored_s), tonumber(stored_us), tonumber(s), tonumber(us)
  if stored_s ~= s then return stored_s > s end
  return stored_us > us
end

if stored[1] then
  if is_later(stored[2], stored[3], ARGV[3], ARGV[4]) then return 0 end
  if is_later(stored[4], stored[5], ARGV[5], ARGV[6]) then return 0 end
end
redis.call('HSET', KEYS[1], 'json', json, 'run', run, 'as_of_s', ARGV[3], 'as_of_us', ARGV[4],
  'full_as_of_s', ARGV[5], 'full_as_of_us', ARGV[6])
return 1
