"""The changes of accounts in Lua, for Redis (``state.redis.Scripted``). Tests compare them with the Python.

Each begins with the same arguments: the wall clock in epoch seconds, the starts of the four windows, and the
length of a lease in microseconds.
"""

from __future__ import annotations

#: ``account_changes._is_there``, ``_current`` and ``_row``.
_ACCOUNT = """
local wall, lease = arguments[1], arguments[6]
local value = load()
local is_there = value ~= nil and #value > 0 and wall - value[2] >= -86400 and wall - value[2] <= 172800
local numbers = {}
if is_there then
  for at = 1, 13 do numbers[at] = value[at] end
  for window = 1, 4 do
    local at, start = 3 * window - 1, arguments[window + 1]
    if start > numbers[at] then numbers[at], numbers[at + 1], numbers[at + 2] = start, 0, 0 end
  end
  for at = 14, #value, 4 do
    if value[at + 3] > now then
      numbers[#numbers + 1], numbers[#numbers + 2] = value[at], value[at + 1]
      numbers[#numbers + 1], numbers[#numbers + 2] = value[at + 2], math.min(value[at + 3], now + lease)
    end
  end
end
local function row(holder, epoch)
  for at = 14, #numbers, 4 do
    if numbers[at] == holder and (numbers[at + 1] == epoch or epoch == 0) then return at end
  end
  return nil
end
local function add(holder, epoch, held)
  for _, number in ipairs({holder, epoch, held, now + lease}) do numbers[#numbers + 1] = number end
end
"""

OPEN = (
    _ACCOUNT
    + """
if is_there then return {0} end
local opened = {arguments[7]}
for window = 1, 4 do
  local at = 3 * window - 1
  opened[at], opened[at + 1], opened[at + 2] = arguments[window + 1], arguments[window + 7], 0
end
save(opened)
return {1}
"""
)

RESERVE = (
    _ACCOUNT
    + """
if not is_there then return {0, 0, 0, -1, 0, 0} end
local holder, amount, most = arguments[7], arguments[8], arguments[9]
local held, tightest, least = 0, -1, 0
for at = 16, #numbers, 4 do held = held + numbers[at] end
for window = 1, 4 do
  local limit = arguments[window + 9]
  if limit >= 0 then
    local room = limit - numbers[3 * window] - numbers[3 * window + 1] - held
    if tightest < 0 or room < least then tightest, least = window - 1, room end
  end
end
local mine = row(holder, 0)
if (tightest >= 0 and amount > least) or (not mine and #numbers > most) then
  return {0, 2, 0, tightest, math.max(0, least), 0}
end
local epoch = now
if mine then
  epoch = numbers[mine + 1]
  numbers[mine + 2], numbers[mine + 3] = numbers[mine + 2] + amount, now + lease
else
  add(holder, now, amount)
end
save(numbers)
return {1, 1, epoch, tightest, math.max(0, least - amount), numbers[1]}
"""
)

SETTLE = (
    _ACCOUNT
    + """
if not is_there then return {0} end
local holder, epoch, held, cost = arguments[7], arguments[8], arguments[9], arguments[10]
local mine = epoch ~= 0 and row(holder, epoch)
if mine and numbers[mine + 2] > held then
  numbers[mine + 2] = numbers[mine + 2] - held
elseif mine then
  for _ = 1, 4 do table.remove(numbers, mine) end
end
local answer = {numbers[1]}
for window = 1, 4 do
  local at = 3 * window - 1
  local before = numbers[at + 1] + numbers[at + 2]
  numbers[at + 2] = numbers[at + 2] + cost
  answer[at], answer[at + 1], answer[at + 2] = numbers[at], before, before + cost
end
save(numbers)
return answer
"""
)

RENEW = (
    _ACCOUNT
    + """
if not is_there then return {0} end
local holder, epoch, held, most = arguments[7], arguments[8], arguments[9], arguments[10]
local mine, restored = row(holder, epoch), 1
if mine then
  numbers[mine + 3] = now + lease
elseif #numbers <= most then
  add(holder, epoch, held)
  restored = 2
end
save(numbers)
return {restored}
"""
)
