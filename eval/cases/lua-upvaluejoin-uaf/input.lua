-- Joins an upvalue that nobody else holds with itself.
local function counter()
    local count = 0
    return function()
        count = count + 1
        return count
    end
end

local step = counter()
debug.upvaluejoin(step, 1, step, 1)
local filler = {}
for number = 1, 64 do
    filler[number] = { number, tostring(number), counter() }
end
collectgarbage()
for _ = 1, 4 do
    step()
end
print(step(), #filler)
