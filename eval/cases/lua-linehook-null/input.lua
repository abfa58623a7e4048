-- Counts lines of a function whose debug information was stripped.
local lines = {}
for number = 1, 60 do
    lines[number] = "sum = (sum or 0) + " .. number
end
local stripped = load(string.dump(load(table.concat(lines, "\n")), true))
local count = 0
debug.sethook(function() count = count + 1 end, "l")
stripped()
print(count)
