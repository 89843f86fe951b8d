-- Writes values unless a newer one stands, all of one call at once. KEYS[i] is to hold ARGV[i + 1]; ARGV[1] is the guard:
-- "event" compares event, then created timestamps; "as_of" compares as-of.
-- Returns {written, older, bytes written, index of a key that was left alone because its format is unknown, or 0}.

-- The layout of a stored value (see feature-defs, codec) up to the times that count: format version, kind, times.
local FORMAT, HEADER_LENGTH = 1, 34
local layout = ARGV[1] == 'event' and '>BxI4I4I4I4' or ('>B' .. string.rep('x', 17) .. 'I4I4')
local numbers = struct.unpack

-- One MGET and one MSET for all: a GETRANGE and a SET for each would cost half as much again.
local stored = redis.call('MGET', unpack(KEYS))
local write, count, older, bytes, unknown = {}, 0, 0, 0, 0
for i = 1, #KEYS do
  local old, new = stored[i], ARGV[i + 1]
  local keep = false
  -- What is shorter than a header has no times to lose against.
  if old and #old >= HEADER_LENGTH then
    -- Times are compared as numbers, in halves that a double holds exactly: Lua compares strings by the server's locale.
    local format, a1, a2, a3, a4 = numbers(layout, old)
    local _, b1, b2, b3, b4 = numbers(layout, new)
    if format ~= FORMAT then unknown = i; keep = true
    elseif a1 ~= b1 then keep = a1 > b1
    elseif a2 ~= b2 then keep = a2 > b2
    -- For "as_of", the third number is where reading ended, the same in both, and there is no fourth.
    elseif a3 ~= b3 then keep = a3 > b3
    elseif a4 ~= b4 then keep = a4 > b4
    end
    if keep and unknown ~= i then older = older + 1 end
  end
  if not keep then
    write[count + 1], write[count + 2] = KEYS[i], new
    count = count + 2
    bytes = bytes + #new
  end
end
if count > 0 then redis.call('MSET', unpack(write)) end
return {count / 2, older, bytes, unknown}
