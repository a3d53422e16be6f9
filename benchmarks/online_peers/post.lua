-- POSTs one body after the other; arguments: a file that lists the bodies, the content type.
-- Prints one line of JSON after RESULT, which online_load.py reads.
local requests = {}
local turn = 0

function init(args)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = args[2]
  for name in io.lines(args[1]) do
    local file = io.open(name, "rb")
    requests[#requests + 1] = wrk.format(nil, nil, nil, file:read("*a"))
    file:close()
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %.6f, "p50_us": %d, "p90_us": %d, "p99_us": %d, "max_us": %d, ' ..
    '"bad_status": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max,
    e.status, e.connect, e.read, e.write, e.timeout))
end
