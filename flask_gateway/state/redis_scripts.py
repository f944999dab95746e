"""The Lua around the changes that Redis makes itself: values, clocks, and several changes in one script."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from .contract import MAX_INTS

#: Prefixed to every Lua version. Times are microseconds; as doubles they are exact until the year 2255.
PRELUDE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local arguments = {}
for i = 2, #ARGV do arguments[i - 1] = tonumber(ARGV[i]) end
local function load()
  local raw = redis.call('GET', KEYS[1])
  if not raw or #raw % 8 ~= 0 or #raw > BYTES then return nil end
  local value = {struct.unpack('<' .. string.rep('i8', #raw / 8), raw)}
  value[#value] = nil  -- struct.unpack adds the position after the last one
  return value
end
local function save(value)
  local raw = struct.pack('<' .. string.rep('i8', #value), unpack(value))
  redis.call('SET', KEYS[1], raw, 'PX', ARGV[1])
end
local function forget() redis.call('DEL', KEYS[1]) end
local function change()
""".replace("BYTES", str(8 * MAX_INTS))
EPILOGUE = """
end
return {now, unpack(change())}
"""

FETCH = """
local clock = redis.call('TIME')
return {clock[1] * 1000000 + clock[2], redis.call('GET', KEYS[1])}
"""

READ_ALL = """
local clock = redis.call('TIME')
local found = {clock[1] * 1000000 + clock[2]}
for at, key in ipairs(KEYS) do found[at + 1] = redis.call('GET', key) end
return found
"""

#: Arguments: 1 if a refusal stops all; then of each change its lifetime in ms, 1 if it may refuse, 0 if it is
#: made in any case, 2 if it is made unless another refuses, and its arguments after their number. Of two
#: changes of a key the second finds what the first has written. Answers the time and 0, then the answer of
#: each; or the time, 1, the answers of changes that are made in any case, and the values of the keys as they
#: are then.
TOGETHER = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local arguments, key, writes, changes = {}, '', {}, {}
local answers, lifetimes, at, certain, made = {now, 0}, {}, 2, {}, {}
local function load()
  local raw = writes[key]
  if raw == nil then raw = redis.call('GET', key) end
  if not raw or raw == '' or #raw % 8 ~= 0 or #raw > BYTES then return nil end
  local value = {struct.unpack('<' .. string.rep('i8', #raw / 8), raw)}
  value[#value] = nil
  return value
end
local function save(value) writes[key] = struct.pack('<' .. string.rep('i8', #value), unpack(value)) end
local function forget() writes[key] = '' end
FUNCTIONS
local function write(all)
  for name, raw in pairs(all) do
    if raw == '' then redis.call('DEL', name) else redis.call('SET', name, raw, 'PX', lifetimes[name]) end
  end
end
local function refusal()
  write(certain)
  local found = {now, 1, made}
  for number, name in ipairs(KEYS) do found[number + 3] = redis.call('GET', name) end
  return found
end
for number, change in ipairs({ORDER}) do
  key, arguments = KEYS[number], {}
  lifetimes[key] = ARGV[at]
  for i = 1, tonumber(ARGV[at + 2]) do arguments[i] = tonumber(ARGV[at + 2 + i]) end
  local answer = changes[change]()
  if ARGV[at + 1] == '0' then
    certain[key], made[#made + 1] = writes[key], {number, answer}
  elseif ARGV[1] == '1' and ARGV[at + 1] == '1' and answer[1] == 0 then
    return refusal()
  end
  at = at + 3 + #arguments
  answers[number + 2] = answer
end
write(writes)
return answers
""".replace("BYTES", str(8 * MAX_INTS))

#: Arguments: lifetime in ms, then the expected and the new value, each as '1' and bytes, or '0' for none.
#: Comparing values is enough, even if others wrote in between: a change is a pure function of the value.
SWAP = """
local clock = redis.call('TIME')
local raw = redis.call('GET', KEYS[1])
local same = not raw
if ARGV[2] == '1' then same = raw == ARGV[3] end
if not same then return {0, clock[1] * 1000000 + clock[2], raw} end
if ARGV[4] == '1' then redis.call('SET', KEYS[1], ARGV[5], 'PX', ARGV[1]) else redis.call('DEL', KEYS[1]) end
return {1}
"""


@lru_cache(maxsize=256)
def together(scripts: tuple[str, ...]) -> str:
    """One script for changes of different keys. If one refuses an admission, nothing is written."""
    distinct = list(dict.fromkeys(scripts))
    bodies = [f"changes[{number}] = function()\n{text}\nend\n" for number, text in enumerate(distinct, 1)]
    functions = "".join(bodies)
    order = ", ".join(str(distinct.index(script) + 1) for script in scripts)
    return TOGETHER.replace("FUNCTIONS", functions).replace("ORDER", order)


@lru_cache(maxsize=64)
def twin_of(script: str) -> str:
    return PRELUDE + script + EPILOGUE


@lru_cache(maxsize=64)
def digest_of(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
