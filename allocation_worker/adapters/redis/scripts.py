"""The Lua scripts that run inside Redis, each atomically, and the names of the keys.

    allocation:generation                      the number of the current generation, which readers see
    allocation:building                        the number of the generation being built; expires if its process ends
    allocation:generations                     the last number assigned
    allocation:project-seen                    when `project` was last seen working, in seconds since the epoch
    allocation:<generation>:sequences          hash: SKU -> sequence of the last event applied
    allocation:<generation>:sku:<SKU>          sorted set: the batches, by the sequence of their creation
    allocation:<generation>:batch:<reference>  hash: sku, purchased, allocated, eta ("" in the warehouse), sequence
    allocation:<generation>:order:<orderid>    hash: SKU NUL lineid -> sequence, a blank, the line as JSON
    allocation:<generation>:rejected:<orderid> hash: SKU NUL lineid NUL command -> time, a blank, the rejection as JSON;
                                               expires

The scripts derive the names of keys from the generation, which they read themselves. So they need a single Redis, not a
sharded Redis Cluster.
"""

from typing import Final

PREFIX: Final = "allocation:"
SHOWN: Final = f"{PREFIX}generation"
BUILDING: Final = f"{PREFIX}building"
LAST: Final = f"{PREFIX}generations"
PROJECT_SEEN: Final = f"{PREFIX}project-seen"
MISSING: Final = "NOGENERATION"
CLOSED: Final = "CLOSEDGENERATION"
BUSY: Final = "BUILDINGELSEWHERE"
IDLE_MILLISECONDS: Final = 15_000
AT_A_TIME: Final = 1000

_COMMON = f"""
local shown = redis.call('GET', '{SHOWN}')
local building = redis.call('GET', '{BUILDING}')

local function root(generation)
    return '{PREFIX}' .. generation .. ':'
end

local function refused(generation)
    if generation ~= building and generation ~= shown then
        return redis.error_reply('{CLOSED}')
    end
end

local function last(generation, sku)
    return tonumber(redis.call('HGET', root(generation) .. 'sequences', sku) or '0')
end
"""

# Returns -1 if no event is missing, else the last sequence before the gap.
_APPLY = """
local sku, batchref, line = ARGV[2], ARGV[4], ARGV[10]
local sequence = tonumber(ARGV[3])

-- Give back what the line held. Returns the line: it goes on waiting if it waited and still holds nothing, and stays
-- held if it was, unless the event says what became of the hold.
local function freed(at, line, what)
    local known = redis.call('HGET', at .. 'order:' .. ARGV[9], ARGV[11])
    if not known then return line end
    local before = cjson.decode(string.match(known, '^%d+ (.*)$'))
    if before.status == 'held' and what ~= 'frees_hold' then
        line = string.gsub(line, '"allocated"', '"held"', 1)
    end
    if what == 'keeps_hold' then return line end
    if before.status == 'held' or (before.status == 'allocated' and what == 'frees') then
        redis.call('HINCRBY', at .. 'batch:' .. before.batchref, 'allocated', '-' .. before.qty)
    elseif before.status == 'waiting' and batchref == '' and what == 'frees' then
        line = string.gsub(line, '"out%-of%-stock"', '"waiting"')
    end
    return line
end

local function apply(generation)
    local have = last(generation, sku)
    if sequence <= have then return -1 end
    if sequence > have + 1 then return have end
    local at = root(generation)
    if ARGV[7] == 'frees' or ARGV[7] == 'frees_hold' or ARGV[7] == 'keeps_hold' then
        line = freed(at, line, ARGV[7])
    end
    if batchref ~= '' then
        local batch = at .. 'batch:' .. batchref
        if ARGV[7] == 'created' then
            redis.call('HSET', batch, 'sku', sku, 'allocated', '0', 'eta', ARGV[8], 'sequence', ARGV[3])
            redis.call('ZADD', at .. 'sku:' .. sku, ARGV[3], batchref)
        end
        if ARGV[7] == 'eta_changed' then redis.call('HSET', batch, 'eta', ARGV[8]) end
        if ARGV[6] ~= '' then redis.call('HSET', batch, 'purchased', ARGV[6]) end
        if ARGV[5] ~= '0' then redis.call('HINCRBY', batch, 'allocated', ARGV[5]) end
    end
    if line ~= '' then
        redis.call('HSET', at .. 'order:' .. ARGV[9], ARGV[11], ARGV[3] .. ' ' .. line)
    end
    redis.call('HSET', at .. 'sequences', sku, ARGV[3])
    return -1
end
"""

# ARGV: generation ('' here), sku, sequence, batchref, allocated by, purchased, effect or '', eta, orderid, line, field.
APPLY_LIVE: Final = f"""
{_COMMON}
{_APPLY}
if not shown then return redis.error_reply('{MISSING}') end
local there = -1
if building then
    there = apply(building)
    -- Not loaded yet: the process that builds it will load this SKU later.
    if there == 0 then there = -1 end
end
return {{apply(shown), there, shown, building or ''}}
"""

WRITE: Final = f"""
{_COMMON}
{_APPLY}
return refused(ARGV[1]) or apply(ARGV[1])
"""

# ARGV: generation, then orderid, field, sequence, line of each.
PUT_LINES: Final = f"""
{_COMMON}
local no = refused(ARGV[1])
if no then return no end
for i = 2, #ARGV, 4 do
    local key = root(ARGV[1]) .. 'order:' .. ARGV[i]
    local known = redis.call('HGET', key, ARGV[i + 1])
    if not known or tonumber(string.match(known, '^%d+')) < tonumber(ARGV[i + 2]) then
        redis.call('HSET', key, ARGV[i + 1], ARGV[i + 2] .. ' ' .. ARGV[i + 3])
    end
end
"""

# ARGV: generation, sku, sequence, then reference, purchased, allocated, eta, sequence of each batch.
PUT_STOCK: Final = f"""
{_COMMON}
local no = refused(ARGV[1])
if no then return no end
if last(ARGV[1], ARGV[2]) >= tonumber(ARGV[3]) then return end
local at = root(ARGV[1])
for i = 4, #ARGV, 5 do
    redis.call('HSET', at .. 'batch:' .. ARGV[i], 'sku', ARGV[2], 'purchased', ARGV[i + 1], 'allocated', ARGV[i + 2],
        'eta', ARGV[i + 3], 'sequence', ARGV[i + 4])
    redis.call('ZADD', at .. 'sku:' .. ARGV[2], ARGV[i + 4], ARGV[i])
end
redis.call('HSET', at .. 'sequences', ARGV[2], ARGV[3])
"""

# ARGV: generation ('' for those that live events go to), seconds to keep, then orderid, field, time, rejection of each.
PUT_REJECTIONS: Final = f"""
{_COMMON}
if ARGV[1] ~= '' then
    local no = refused(ARGV[1])
    if no then return no end
end
for _, generation in ipairs(ARGV[1] ~= '' and {{ARGV[1]}} or {{shown, building or shown}}) do
    for i = 3, #ARGV, 4 do
        local key = root(generation) .. 'rejected:' .. ARGV[i]
        local known = redis.call('HGET', key, ARGV[i + 1])
        if not known or tonumber(string.match(known, '^%d+')) <= tonumber(ARGV[i + 2]) then
            redis.call('HSET', key, ARGV[i + 1], ARGV[i + 2] .. ' ' .. ARGV[i + 3])
            redis.call('EXPIRE', key, ARGV[2])
        end
    end
end
"""

# ARGV: 1 to replace a generation that another process is building, else 0.
BEGIN: Final = f"""
if ARGV[1] ~= '1' and redis.call('EXISTS', '{BUILDING}') == 1 then return redis.error_reply('{BUSY}') end
local generation = redis.call('INCR', '{LAST}')
redis.call('SET', '{BUILDING}', generation, 'PX', {IDLE_MILLISECONDS})
return generation
"""

# ARGV: generation, the milliseconds until it expires; 0 ends it at once.
KEEP_OPEN: Final = f"""
if redis.call('GET', '{BUILDING}') == ARGV[1] then redis.call('PEXPIRE', '{BUILDING}', ARGV[2]) end
"""

# ARGV: generation. If some SKUs of the new generation are behind, returns those and changes nothing.
SWITCH: Final = f"""
{_COMMON}
if ARGV[1] ~= building then return redis.error_reply('{CLOSED}') end
local behind = {{}}
if shown then
    local entries = redis.call('HGETALL', root(shown) .. 'sequences')
    for i = 1, #entries, 2 do
        if last(building, entries[i]) < tonumber(entries[i + 1]) then behind[#behind + 1] = entries[i] end
        if #behind == {AT_A_TIME} then break end
    end
end
if #behind == 0 then
    redis.call('SET', '{SHOWN}', ARGV[1])
    redis.call('DEL', '{BUILDING}')
end
return behind
"""

READ_ORDER: Final = f"""
{_COMMON}
if not shown then return redis.error_reply('{MISSING}') end
return redis.call('HGETALL', root(shown) .. 'order:' .. ARGV[1])
"""

READ_REJECTIONS: Final = f"""
{_COMMON}
if not shown then return redis.error_reply('{MISSING}') end
return redis.call('HGETALL', root(shown) .. 'rejected:' .. ARGV[1])
"""

_READ_BATCH = """
local function batch(reference)
    local fields = redis.call('HMGET', root(shown) .. 'batch:' .. reference,
        'sku', 'purchased', 'allocated', 'eta', 'sequence')
    table.insert(fields, 1, reference)
    return fields
end
"""

READ_BATCH: Final = f"""
{_COMMON}
{_READ_BATCH}
if not shown then return redis.error_reply('{MISSING}') end
return batch(ARGV[1])
"""

READ_SKU: Final = f"""
{_COMMON}
{_READ_BATCH}
if not shown then return redis.error_reply('{MISSING}') end
local batches = {{}}
for _, reference in ipairs(redis.call('ZRANGE', root(shown) .. 'sku:' .. ARGV[1], 0, -1)) do
    batches[#batches + 1] = batch(reference)
end
return {{last(shown, ARGV[1]), batches}}
"""
