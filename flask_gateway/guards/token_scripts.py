"""The changes of token logs in Lua, for Redis (``state.redis.Scripted``). Tests compare them with the Python.

Each begins with the same arguments: the window and its grain, microseconds.
"""

from __future__ import annotations

#: ``token_window._Window``.
_WINDOW = """
local window, grain = arguments[1], arguments[2]
local function whole(number) return number - math.fmod(number, grain) end
local function rest(numbers, first)
  local kept = {}
  for at = first, #numbers do kept[#kept + 1] = numbers[at] end
  return kept
end
local old = load()
local log, clamped = old or {}, false
if #log > 0 and log[1] > now + grain + 1000000 then
  local latest = whole(now) + grain
  local ahead = whole(log[1] - latest) / grain + 2
  local tokens, moved = 0, {latest, 0}
  for at = 2, math.min(ahead, #log) do tokens = tokens + log[at] end
  for at = ahead + 1, #log do moved[#moved + 1] = log[at] end
  moved[2] = tokens
  log, clamped = moved, true
end
local live = {}
if #log > 0 then
  local count = math.ceil((log[1] + window - now) / grain)
  if count > 0 then for at = 1, math.min(#log, count + 1) do live[at] = log[at] end end
end
local function added(tokens)
  local stamp = whole(now) + grain
  if #live == 0 then return {stamp, tokens} end
  if live[1] >= stamp then
    live[2] = live[2] + tokens
    return live
  end
  local grown = {stamp, tokens}
  for _ = 1, (stamp - live[1]) / grain - 1 do grown[#grown + 1] = 0 end
  for at = 2, #live do grown[#grown + 1] = live[at] end
  return grown
end
local function given_back(first)
  for at = first, #arguments, 2 do
    local place = math.floor((live[1] - arguments[at]) / grain) + 2
    if place >= 2 and place <= #live then live[place] = math.max(0, live[place] - arguments[at + 1]) end
  end
  for at = 2, #live do
    if live[at] ~= 0 then
      if at == 2 then return live end
      local kept = rest(live, at - 1)
      kept[1] = live[1] - (at - 2) * grain
      return kept
    end
  end
  return {}
end
local function keep(numbers)
  if #numbers > 0 then save(numbers) elseif old then forget() end
end
"""

RESERVE_TOKENS = (
    _WINDOW
    + """
local limit, amount = arguments[3], arguments[4]
local changed = clamped
if #arguments > 4 and #live > 0 then
  live = given_back(5)
  log, changed = live, true
end
local left = limit
for at = 2, #live do left = left - live[at] end
if amount > left then
  if changed then keep(log) end
  local reset, wait, room = 0, 0, left
  if #live > 0 then reset = live[1] + window - now end
  for at = #live, 2, -1 do
    room = room + live[at]
    if amount <= room then
      wait = math.max(1, live[1] - (at - 2) * grain + window - now)
      break
    end
  end
  return {0, math.max(0, left), reset, wait}
end
live = added(amount)
save(live)
return {live[1], left - amount, live[1] + window - now, 0}
"""
)

CORRECT_TOKENS = (
    _WINDOW
    + """
local more = arguments[3]
if more > 0 then
  save(added(more))
elseif #arguments > 3 then
  keep(#live > 0 and given_back(4) or {})
end
return {0}
"""
)
