-- Chooses the server with the smallest sum of sizes that it works on, for its weight.
--
-- Clients state the size of a request in a header. A request is given back when its answer begins. One that was
-- cancelled, or that the gateway answers itself, is not: where more are noted than HAProxy counts, the oldest are forgotten.

local SIZE = "beampipe-size"
local BACKENDS = { grpc = true, http = true }
local LOOK = 50 -- time between two looks at the servers [ms]

local servers = {} -- name -> { up, weight, total, requests = { id -> size }, first, last }
local names = {}

local function noted(name)
  local server = servers[name]
  if server == nil then
    server = { up = false, weight = 1, total = 0, count = 0, requests = {}, first = 1, last = 0 }
    servers[name] = server
    names[#names + 1] = name
  end
  return server
end

local function forget(server, id)
  local size = server.requests[id]
  if size == nil then
    return
  end
  server.requests[id] = nil
  server.total = server.total - size
  server.count = server.count - 1
  while server.first <= server.last and server.requests[server.first] == nil do
    server.first = server.first + 1
  end
end

core.register_task(function()
  while true do
    local sessions = {}
    for backend_name, backend in pairs(core.backends) do
      if BACKENDS[backend_name] then
        for name, one in pairs(backend.servers) do
          local stats = one:get_stats()
          local server = noted(name)
          if backend_name == "http" then
            local weight = tonumber(stats.weight) or 1
            -- One that weighs nothing is on trial: it gets its share by another rule.
            server.up = string.sub(stats.status or "", 1, 2) == "UP" and weight > 0
            server.weight = math.max(1, weight)
          end
          sessions[name] = (sessions[name] or 0) + (tonumber(stats.scur) or 0) + (tonumber(stats.qcur) or 0)
        end
      end
    end
    for name, server in pairs(servers) do
      -- Twice in a row, since a request is noted a moment before it is counted.
      local surplus = server.count - (sessions[name] or 0)
      for _ = 1, math.min(surplus, server.surplus or 0) do
        forget(server, server.first)
      end
      server.surplus = math.max(0, server.count - (sessions[name] or 0))
    end
    core.msleep(LOOK)
  end
end)

core.register_action("least_hits", { "http-req" }, function(txn)
  local size = tonumber(txn.sf:req_hdr(SIZE))
  if size == nil or size < 0 or size ~= size or size > 1e12 then
    return
  end
  size = size + 1
  local best, least
  for _, name in ipairs(names) do
    local server = servers[name]
    if server.up then
      local load = (server.total + size) / server.weight
      if least == nil or load < least then
        best, least = name, load
      end
    end
  end
  if best == nil then
    return
  end
  local server = servers[best]
  server.last = server.last + 1
  server.requests[server.last] = size
  server.total = server.total + size
  server.count = server.count + 1
  txn:set_var("txn.beampipe_server", best)
  txn:set_var("txn.beampipe_request", server.last)
end, 0)

core.register_action("give_back", { "http-res" }, function(txn)
  local server = servers[txn:get_var("txn.beampipe_server")]
  if server ~= nil then
    forget(server, txn:get_var("txn.beampipe_request"))
  end
end, 0)
