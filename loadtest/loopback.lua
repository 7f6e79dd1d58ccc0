-- Whatever the URL names is on this machine; the name itself is still what TLS and HTTP ask for.
wrk.resolve = function(_, service)
    wrk.addrs = wrk.lookup("127.0.0.1", service)
end
