-- A debugger's dump of all variadic arguments, with a counter that wraps.
local function arguments(...)
    local found, index = {}, 1
    while debug.getlocal(1, -index) do
        found[#found + 1] = index
        index = index + 1
    end
    return #found, debug.getlocal(1, 2147483648)
end

local total = 0
for round = 1, 40 do
    total = total + (select('#', table.unpack({ 1, 2, 3, round })))
end
print(arguments(total, 'two', 'three'))
