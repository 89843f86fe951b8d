-- Writes values unless a newer one stands, all of one call at once. KEYS[i] is to hold ARGV[i + 2]; ARGV[1] is the guard:
-- "event" compares event, then created timestamps, then as-of; "as_of" compares as-of. ARGV[2] is a time as values hold it, or zeros:
-- a stored value that is as of before it counts as absent.
-- Returns {written, older, bytes written, how many keys held anything, how many values were set because they did not stand there as they are, index of a
-- key that was left alone because its format is unknown, or 0}.

-- The layout of a stored value (see feature-defs, codec) up to the times: format version, kind, event, created, as-of.
local FORMAT, HEADER_LENGTH = 1, 34
local LAYOUT = '>BxI4I4I4I4I4I4'
local numbers, keys, values = struct.unpack, KEYS, ARGV
local by_as_of = values[1] == 'as_of'
local floor1, floor2 = numbers('>I4I4', values[2])

-- One MGET and one MSET for all: a GETRANGE and a SET for each would cost half as much again.
local stored = redis.call('MGET', unpack(keys))
local write, count = {}, 0
local written, older, bytes, found, unknown = 0, 0, 0, 0, 0
for i = 1, #keys do
  local old, new = stored[i], values[i + 2]
  local keep = false
  if old then found = found + 1 end
  -- What is the same stands written. What is shorter than a header has no times to lose against.
  if old and old ~= new and #old >= HEADER_LENGTH then
    -- Times are compared as numbers, in halves that a double holds exactly: Lua compares strings by the server's locale.
    local format, event1, event2, created1, created2, as_of1, as_of2 = numbers(LAYOUT, old)
    local _, new_event1, new_event2, new_created1, new_created2, new_as_of1, new_as_of2 = numbers(LAYOUT, new)
    if format ~= FORMAT then unknown = i; keep = true
    elseif as_of1 < floor1 or as_of1 == floor1 and as_of2 < floor2 then keep = false
    elseif not by_as_of and event1 ~= new_event1 then keep = event1 > new_event1
    elseif not by_as_of and event2 ~= new_event2 then keep = event2 > new_event2
    elseif not by_as_of and created1 ~= new_created1 then keep = created1 > new_created1
    elseif not by_as_of and created2 ~= new_created2 then keep = created2 > new_created2
    else keep = as_of1 > new_as_of1 or as_of1 == new_as_of1 and as_of2 > new_as_of2
    end
    if keep and unknown ~= i then older = older + 1 end
  end
  if not keep then
    written = written + 1
    bytes = bytes + #new
    if old ~= new then
      write[count + 1], write[count + 2] = keys[i], new
      count = count + 2
    end
  end
end
if count > 0 then redis.call('MSET', unpack(write)) end
return {written, older, bytes, found, count / 2, unknown}
