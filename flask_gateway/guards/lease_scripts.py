"""The changes of leases in Lua, for Redis (``state.redis.Scripted``). Tests compare them with the Python."""

from __future__ import annotations

#: The beginning of both Lua scripts for Redis : the live rows, as in ``leases._live``.
_ROWS = """
local holder, lease = arguments[1], arguments[2]
local value, rows, used, mine = load() or {}, {}, 0, nil
for at = 1, #value - 3, 4 do
  if value[at + 3] > now then
    local row = {value[at], value[at + 1], value[at + 2], math.min(value[at + 3], now + lease)}
    rows[#rows + 1] = row
    used = used + row[3]
    if row[1] == holder then mine = row end
  end
end
local function keep()
  local flat = {}
  for _, row in ipairs(rows) do
    for _, number in ipairs(row) do flat[#flat + 1] = number end
  end
  save(flat)
end
"""

ACQUIRE = (
    _ROWS
    + """
local limit, most = arguments[3], arguments[4]
if used >= limit then return {0} end
if mine then
  mine[3], mine[4] = mine[3] + 1, now + lease
elseif #rows >= most then
  return {0}
else
  mine = {holder, now, 1, now + lease}
  rows[#rows + 1] = mine
end
keep()
return {mine[2]}
"""
)

RELEASE = (
    _ROWS
    + """
if not mine or mine[2] ~= arguments[3] then return {0} end
mine[3] = math.max(0, mine[3] - arguments[4])
keep()
return {1}
"""
)

RENEW = (
    _ROWS
    + """
mine = nil
for _, row in ipairs(rows) do
  if not mine and row[1] == holder and row[2] == arguments[3] then mine = row end
end
if mine then
  mine[4] = now + lease
elseif #rows < arguments[5] then
  rows[#rows + 1] = {holder, arguments[3], arguments[4], now + lease}
end
keep()
return {0}
"""
)
