-- Writes values unless a newer one stands, all of one call at once. KEYS[i] is to hold ARGV[i + 1]; ARGV[1] is the guard:
-- "event" compares event, then created timestamps; "as_of" compares as-of.
-- Returns {written, older, bytes written, index of a key that was left alone because its format is unknown, or 0}.

-- Positions in a stored value (see feature-defs, codec), counted from 1.
local FORMAT, EVENT, AS_OF, HEADER = 1, 3, 19, 34

-- Times are compared as numbers, in halves that a double holds exactly: Lua compares strings by the server's locale.
local function event_is_newer(a, b)
  local a1, a2, a3, a4 = struct.unpack('>I4I4I4I4', a, EVENT)
  local b1, b2, b3, b4 = struct.unpack('>I4I4I4I4', b, EVENT)
  if a1 ~= b1 then return a1 > b1 end
  if a2 ~= b2 then return a2 > b2 end
  if a3 ~= b3 then return a3 > b3 end
  return a4 > b4
end

local function as_of_is_newer(a, b)
  local a1, a2 = struct.unpack('>I4I4', a, AS_OF)
  local b1, b2 = struct.unpack('>I4I4', b, AS_OF)
  if a1 ~= b1 then return a1 > b1 end
  return a2 > b2
end

local is_newer = ARGV[1] == 'event' and event_is_newer or as_of_is_newer
local stored = redis.call('MGET', unpack(KEYS))
local write, older, bytes, unknown = {}, 0, 0, 0
for i = 1, #KEYS do
  local old, new = stored[i], ARGV[i + 1]
  -- What is shorter than a header has no times to lose against.
  local is_value = old and #old >= HEADER
  if is_value and string.byte(old, 1) ~= FORMAT then
    unknown = i
  elseif is_value and is_newer(old, new) then
    older = older + 1
  else
    write[#write + 1] = KEYS[i]
    write[#write + 1] = new
    bytes = bytes + #new
  end
end
if #write > 0 then redis.call('MSET', unpack(write)) end
return {#write / 2, older, bytes, unknown}
