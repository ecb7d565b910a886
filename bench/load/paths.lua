-- wrk script: a different path for each request, 5,000 of them, prepared before the run.
local requests = {}
local count = 0

function init(args)
  for number = 0, 4999 do
    requests[number] = wrk.format("GET", "/path/" .. number .. "/item")
  end
end

function request()
  count = count + 1
  return requests[count % 5000]
end
