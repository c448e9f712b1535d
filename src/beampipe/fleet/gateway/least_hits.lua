-- Chooses the server with the smallest sum of sizes that it works on, for its weight.
--
-- Clients state the size of a request in a header. A request is given back when its answer begins. One that was
-- cancelled, or that the gateway answers itself, is not: where more are noted than HAProxy counts, those are dropped
-- whose transaction is gone. Only the transaction holds a request, so Lua's collector tells which ones that are.

local SIZE = "beampipe-size"
local BACKENDS = { grpc = true, http = true, grpc_large = true, http_large = true }
local LOOK = 50 -- time between two looks at the servers [ms]

local servers = {} -- name -> { up, weight, total, count, requests = { request -> size } }
local names = {}

local function noted(name)
  local server = servers[name]
  if server == nil then
    server = { up = false, weight = 1, total = 0, count = 0, requests = setmetatable({}, { __mode = "k" }) }
    servers[name] = server
    names[#names + 1] = name
  end
  return server
end

local function recount(server)
  server.total, server.count = 0, 0
  for _, size in pairs(server.requests) do
    server.total = server.total + size
    server.count = server.count + 1
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
    local surplus = false
    for name, server in pairs(servers) do
      local more = server.count > (sessions[name] or 0)
      -- Twice in a row, since a request is noted a moment before it is counted.
      surplus = surplus or (more and server.more)
      server.more = more
    end
    if surplus then
      collectgarbage()
      for _, server in pairs(servers) do
        recount(server)
      end
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
  local server, request = servers[best], {}
  server.requests[request] = size
  server.total = server.total + size
  server.count = server.count + 1
  txn:set_priv(request)
  txn:set_var("txn.beampipe_server", best)
end, 0)

core.register_action("give_back", { "http-res" }, function(txn)
  local server, request = servers[txn:get_var("txn.beampipe_server")], txn:get_priv()
  local size = server and request and server.requests[request]
  if size then
    server.requests[request] = nil
    server.total = server.total - size
    server.count = server.count - 1
  end
end, 0)
