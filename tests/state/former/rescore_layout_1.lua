#!lua name=rescore_DIGEST

-- All writes to a partition of the state. DIGEST is that of this file, so that workers of two releases never replace
-- each other's functions. Every function compares before it writes, and does everything or nothing: Redis does not roll
-- back, so what could fail (shapes, types of keys) comes before what can not.
--
-- Keys: 1 the partition's meta hash {seq, nonce, state_offset, status, partitions, layout; parts while it is being
-- rebuilt}, 2 its index of due times.
-- Rows are in the same slot, under a prefix that is an argument.

-- Values handed to one command: Lua's stack holds 8,000 of them. Even, so that pairs stay together.
local VALUES_MAX = 4000

-- The numbers of one write: length of the user, length of the row (-1: delete it, -2: leave it), due time (NaN: none).
local NUMBERS = '<I4i4d'
local NUMBERS_SIZE = 16

-- Calls a command with values, in pieces.
local function call(command, key, values)
  for first = 1, #values, VALUES_MAX do
    local last = math.min(first + VALUES_MAX - 1, #values)
    if key then redis.call(command, key, unpack(values, first, last))
    else redis.call(command, unpack(values, first, last)) end
  end
end

-- Writes rows and due times: `numbers` as above, `text` user, row, user, row ... end to end. In two long strings, as
-- packing thousands of short arguments would cost the client five times as much.
local function write(keys, prefix, numbers, text)
  local rows, deleted, due, not_due = {}, {}, {}, {}
  local at = 1
  for i = 1, #numbers, NUMBERS_SIZE do
    local user_length, row_length, due_ms = struct.unpack(NUMBERS, numbers, i)
    local user = string.sub(text, at, at + user_length - 1)
    at = at + user_length
    if row_length == -1 then
      deleted[#deleted + 1] = prefix .. user
    elseif row_length >= 0 then
      local n = #rows
      rows[n + 1] = prefix .. user
      rows[n + 2] = string.sub(text, at, at + row_length - 1)
      at = at + row_length
    end
    if due_ms ~= due_ms then
      not_due[#not_due + 1] = user
    else
      local n = #due
      due[n + 1] = due_ms
      due[n + 2] = user
    end
  end
  if at ~= #text + 1 then error('rescore: the text of a write does not fit its numbers') end
  -- The index first: only its commands can fail, if its key is no sorted set, and they do so before they change it.
  call('ZADD', keys[2], due)
  call('ZREM', keys[2], not_due)
  call('MSET', nil, rows)
  call('UNLINK', nil, deleted)
end

local function meta(keys)
  local held = redis.call('HMGET', keys[1], 'seq', 'nonce', 'state_offset', 'status')
  return held[1], held[2], held[3], held[4]
end

-- nonce, expected seq, seq, state_offset; prefix, numbers, text. Answers the outcome and the seq that is held.
local function save(keys, args)
  local seq, nonce, _, status = meta(keys)
  if not seq then return {'missing', 0} end
  if nonce ~= args[1] then return {'fenced', tonumber(seq)} end
  if status ~= 'ready' then return {'missing', tonumber(seq)} end
  if seq == args[3] then return {'already', tonumber(seq)} end
  if tonumber(seq) < tonumber(args[2]) then return {'behind', tonumber(seq)} end
  if seq ~= args[2] then return {'ahead', tonumber(seq)} end
  write(keys, args[5], args[6], args[7])
  redis.call('HSET', keys[1], 'seq', args[3], 'state_offset', args[4])
  return {'ok', tonumber(seq)}
end

-- nonce. The session that may write from here on; answers whether there is anything to write to.
local function claim(keys, args)
  if redis.call('EXISTS', keys[1]) == 0 then return 0 end
  redis.call('HSET', keys[1], 'nonce', args[1])
  return 1
end

-- seq, nonce, state_offset, partitions, layout. Not ready from here until `restored`.
local function restore(keys, args)
  redis.call('UNLINK', keys[1], keys[2])
  redis.call('HSET', keys[1], 'seq', args[1], 'nonce', args[2], 'state_offset', args[3], 'status', 'restoring',
    'partitions', args[4], 'layout', args[5], 'parts', 0)
  return 1
end

-- nonce, expected seq, seq, state_offset. Rows of many transactions follow in parts; not ready from here until `restored`.
local function follow(keys, args)
  local seq, nonce, _, status = meta(keys)
  if nonce ~= args[1] or status ~= 'ready' or seq ~= args[2] then return 0 end
  redis.call('HSET', keys[1], 'seq', args[3], 'state_offset', args[4], 'status', 'restoring', 'parts', 0)
  return 1
end

-- A rebuild goes on only where it stopped: a server that fell back to an older copy of itself in the middle of it has
-- lost parts, and would else be called ready without them.
local function is_restoring(keys, wanted_nonce, wanted_parts)
  local _, nonce, _, status = meta(keys)
  return nonce == wanted_nonce and status == 'restoring' and redis.call('HGET', keys[1], 'parts') == wanted_parts
end

-- nonce, parts so far; keys of leftover rows.
local function clear(keys, args)
  if not is_restoring(keys, args[1], args[2]) then return 0 end
  table.remove(args, 1)
  table.remove(args, 1)
  call('UNLINK', nil, args)
  redis.call('HINCRBY', keys[1], 'parts', 1)
  return 1
end

-- nonce, parts so far; prefix, numbers, text.
local function fill(keys, args)
  if not is_restoring(keys, args[1], args[2]) then return 0 end
  write(keys, args[3], args[4], args[5])
  redis.call('HINCRBY', keys[1], 'parts', 1)
  return 1
end

-- nonce, parts so far.
local function restored(keys, args)
  if not is_restoring(keys, args[1], args[2]) then return 0 end
  redis.call('HSET', keys[1], 'status', 'ready')
  redis.call('HDEL', keys[1], 'parts')
  return 1
end

-- nonce; prefix, numbers, text (of due times alone). Late words of a former session are not heard.
local function index(keys, args)
  local _, nonce, _, status = meta(keys)
  if nonce ~= args[1] or status ~= 'ready' then return 0 end
  write(keys, args[2], args[3], args[4])
  return 1
end

redis.register_function('rescore_save_DIGEST', save)
redis.register_function('rescore_claim_DIGEST', claim)
redis.register_function('rescore_restore_DIGEST', restore)
redis.register_function('rescore_follow_DIGEST', follow)
redis.register_function('rescore_clear_DIGEST', clear)
redis.register_function('rescore_fill_DIGEST', fill)
redis.register_function('rescore_restored_DIGEST', restored)
redis.register_function('rescore_index_DIGEST', index)
