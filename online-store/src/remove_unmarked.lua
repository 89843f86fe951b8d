-- Removes keys of a view that nobody vouches for and no run writes, all of one call at once. KEYS[1]: the view's marker, which
-- also holds the note of a run that writes; the rest: what to remove.
-- Returns how many were removed, -1 if there is a marker or a note.
if redis.call('EXISTS', KEYS[1]) == 1 then return -1 end
return redis.call('UNLINK', unpack(KEYS, 2))
