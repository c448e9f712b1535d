-- Counts, as metrics for Prometheus, requests to models by server and time, and by model and outcome, and refusals
-- by reason: for a gateway whose access log no process of ours reads. Names and bins are those of access_log.py.

local BOUNDS = {} -- upper bounds of the bins [ms], from 0.5 ms to 63 s, ten per decade
for number = -3, 48 do
  BOUNDS[#BOUNDS + 1] = tonumber(string.format("%.2g", 10 ^ (number / 10)))
end

local servers = {} -- name -> { sum [s], number of requests by bin }
local models = { answered = {}, failed = {} } -- outcome -> model -> number
local FAULTS = { ["2"] = true, ["13"] = true, ["14"] = true, ["15"] = true } -- statuses of gRPC
local refused = {} -- reason -> number

-- A fetch, since actions in Lua cannot follow the answers that HAProxy gives itself.
core.register_fetches("count_request", function(txn)
  local reason = txn:get_var("txn.refused")
  if reason and reason ~= "" then
    refused[reason] = (refused[reason] or 0) + 1
    return 0
  end
  local name, path = txn.f:srv_name(), txn:get_var("txn.path") or ""
  if name == nil or name == "" or not (path:find("/infer$") or path:find("/ModelInfer$")) then
    return 0
  end
  local status, grpc = txn.f:status(), txn:get_var("txn.grpc_status") or "0"
  local failed = status >= 500 or FAULTS[grpc]
  if failed or (status < 400 and grpc == "0") then
    local numbers = models[failed and "failed" or "answered"]
    local model = (txn:get_var("txn.model") or ""):match("^[%w_][%w_.-]*$") or "other"
    numbers[model] = (numbers[model] or 0) + 1
  end
  if failed then
    return 0
  end
  local time = (txn.f:date(0, "us") - txn:get_var("txn.start")) / 1e3
  local bin = 1
  while bin <= #BOUNDS and time > BOUNDS[bin] do
    bin = bin + 1
  end
  local server = servers[name]
  if server == nil then
    server = { sum = 0, bins = {} }
    for number = 1, #BOUNDS + 1 do
      server.bins[number] = 0
    end
    servers[name] = server
  end
  server.bins[bin] = server.bins[bin] + 1
  server.sum = server.sum + time / 1e3
  return 1
end)

core.register_service("request_times", "http", function(applet)
  local name = "beampipe_gateway_request_seconds"
  local lines = {
    "# HELP " .. name .. " Time of requests to models at the gateway, by the server that answered.",
    "# TYPE " .. name .. " histogram",
  }
  for label, server in pairs(servers) do
    local count = 0
    for number, more in ipairs(server.bins) do
      count = count + more
      local bound = BOUNDS[number] and string.format("%g", BOUNDS[number] / 1e3) or "+Inf"
      lines[#lines + 1] = string.format('%s_bucket{server="%s",le="%s"} %d', name, label, bound, count)
    end
    lines[#lines + 1] = string.format('%s_sum{server="%s"} %.6f', name, label, server.sum)
    lines[#lines + 1] = string.format('%s_count{server="%s"} %d', name, label, count)
  end
  lines[#lines + 1] = "# HELP beampipe_gateway_refused_total Number of refused at the gateway, by reason."
  lines[#lines + 1] = "# TYPE beampipe_gateway_refused_total counter"
  for reason, number in pairs(refused) do
    lines[#lines + 1] = string.format('beampipe_gateway_refused_total{reason="%s"} %d', reason, number)
  end
  name = "beampipe_gateway_model_requests_total"
  lines[#lines + 1] = "# HELP " .. name .. " Number of requests at the gateway that a model answered or failed."
  lines[#lines + 1] = "# TYPE " .. name .. " counter"
  for outcome, numbers in pairs(models) do
    for model, number in pairs(numbers) do
      lines[#lines + 1] = string.format('%s{model="%s",outcome="%s"} %d', name, model, outcome, number)
    end
  end
  local text = table.concat(lines, "\n") .. "\n"
  applet:set_status(200)
  applet:add_header("content-type", "text/plain; version=0.0.4")
  applet:add_header("content-length", tostring(#text))
  applet:start_response()
  applet:send(text)
end)
