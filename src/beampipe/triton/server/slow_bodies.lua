-- Ends a request whose body arrives too slowly, once its first part has filled the buffer.
--
-- HAProxy limits the time until a body fills the buffer; after that it limits only the gap between two parts. This filter
-- has a time A [s] and a rate R [bytes/s] as arguments: a client may take A + n / R for n further bytes.

local SlowBody = { id = "slow body", flags = filter.FLT_CFG_FL_HTX }
SlowBody.__index = SlowBody

function SlowBody:new()
  return setmetatable({ pause = self.pause, rate = self.rate, waited = 0, received = 0 }, SlowBody)
end

function SlowBody:http_headers(_, message)
  if not message.channel:is_resp() then
    filter.register_data_filter(self, message.channel)
  end
end

function SlowBody:http_payload(_, message)
  local time = core.now()
  local now = time.sec + time.usec / 1e6
  if self.last then
    local gap = now - self.last
    self.received = self.received + message:input()
    -- A client may not pause for longer (`timeout client`): then HAProxy itself did not read, since the server was busy.
    if gap < self.pause then
      self.waited = self.waited + gap
    end
    if self.waited > self.pause + self.received / self.rate then
      -- Of HAProxy 2.8, only an error ends a request at this point; `txn:done()` leaves it at the server for ever.
      error("a body arrives too slowly", 0)
    end
  end
  self.last = now
end

core.register_filter("slow_bodies", SlowBody, function(self, arguments)
  self.pause, self.rate = tonumber(arguments[1]), tonumber(arguments[2])
  return self
end)
