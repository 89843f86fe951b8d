-- Removes the values that are as of before a moment, all of one call at once. KEYS: values. ARGV[1]: the moment, as values
-- hold a time. What is no value, or of a format that is unknown, has no as-of and stays.
-- Returns how many were removed.

-- The layout of a stored value (see feature-defs, codec): format version, what comes before the as-of, as-of.
local FORMAT, HEADER_LENGTH = 1, 34
local LAYOUT = '>BxxxxxxxxxxxxxxxxxI4I4'
local numbers = struct.unpack
local before1, before2 = numbers('>I4I4', ARGV[1])

local gone = {}
for i = 1, #KEYS do
  -- The header alone: values may be wide. A key that holds something else than a string answers with an error.
  local header = redis.pcall('GETRANGE', KEYS[i], 0, HEADER_LENGTH - 1)
  if type(header) == 'string' and #header == HEADER_LENGTH then
    -- As numbers, in halves that a double holds exactly: Lua compares strings by the server's locale.
    local format, as_of1, as_of2 = numbers(LAYOUT, header)
    if format == FORMAT and (as_of1 < before1 or as_of1 == before1 and as_of2 < before2) then
      gone[#gone + 1] = KEYS[i]
    end
  end
end
if #gone == 0 then return 0 end
return redis.call('UNLINK', unpack(gone))
