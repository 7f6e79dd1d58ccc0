# The files of a run: a certificate, the origin's pages, and the configurations of all three servers.
# Needs $folder, $host, $origin_port, $edge_port, $admin_port and $peer_port.

write_files() {
    mkdir -p "$folder/site" "$folder/temp"
    python3 - "$folder/site" <<'PYTHON'
import json
import pathlib
import sys

site = pathlib.Path(sys.argv[1])
head = "<!doctype html>\n<html>\n<head><meta charset=\"utf-8\"><title>Shop</title></head>\n<body>\n"
tail = "</body>\n</html>\n"
rows = "".join(f"<p class=\"row\">Article {row}: <a href=\"/article/{row}\">more of it</a></p>\n" for row in range(1000))
site.joinpath("index.html").write_text(head + rows[: 10240 - len(head) - len(tail) - 1] + "\n" + tail)
items = [{"id": item, "name": "article"} for item in range(20)]
text = json.dumps({"items": items, "note": ""})
site.joinpath("data.json").write_text(text[:-2] + "x" * (1024 - len(text)) + text[-2:])
PYTHON
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$host" \
        -addext "subjectAltName=DNS:$host" -addext "basicConstraints=critical,CA:FALSE" -keyout "$folder/key.pem" -out "$folder/chain.pem" 2>/dev/null
    chmod 600 "$folder/key.pem"
    write_icpgate
    write_nginx
}

write_icpgate() {
    cat >"$folder/icpgate.yaml" <<YAML
filings: filings.yaml
listeners:
  - {name: https, addresses: ["127.0.0.1:$edge_port"], protocol: https}
sites:
  - hosts: [$host]
    certificate: {chain: chain.pem, key: key.pem}
    routes:
      - origins: [app]
origins:
  - {name: app, region: mainland, scheme: http, servers: ["127.0.0.1:$origin_port"]}
access_log: {directory: access, reserve: 0}
admin: {address: "127.0.0.1:$admin_port"}
YAML
    cat >"$folder/filings.yaml" <<YAML
filings:
  - {domain: example.cn, number: 京ICP备2024012345号-1, status: approved, approved_on: 2026-03-02}
YAML
}

write_nginx() {
    local common="
daemon off;
master_process off;
worker_processes 1;
error_log stderr warn;
events { worker_connections 4096; }
"
    # Bodies that are proxied stay in memory.
    local places="
    client_body_temp_path $folder/temp; proxy_temp_path $folder/temp; fastcgi_temp_path $folder/temp;
    uwsgi_temp_path $folder/temp; scgi_temp_path $folder/temp;
    default_type application/octet-stream;
    types { text/html html; application/json json; }
    keepalive_requests 100000000;
    tcp_nodelay on;
"
    cat >"$folder/origin.conf" <<NGINX
$common
pid $folder/origin.pid;
http {
    $places
    access_log off;
    sendfile on;
    open_file_cache max=16;
    server {
        listen 127.0.0.1:$origin_port;
        root $folder/site;
        charset utf-8;
    }
}
NGINX
    cat >"$folder/peer.conf" <<NGINX
$common
pid $folder/peer.pid;
http {
    $places
    # The fields of icpgate's records that nginx knows.
    log_format records escape=json '{"time":"\$time_iso8601","event":"request","node":"\$hostname",'
        '"connection_id":"\$connection","request_id":"\$request_id","client_ip":"\$remote_addr",'
        '"client_port":"\$remote_port","local_ip":"\$server_addr","local_port":"\$server_port",'
        '"protocol":"\$server_protocol","tls_version":"\$ssl_protocol","tls_cipher":"\$ssl_cipher",'
        '"server_name":"\$ssl_server_name","host":"\$host","method":"\$request_method","path":"\$uri",'
        '"query":"\$args","status":"\$status","bytes_in":"\$request_length","bytes_out":"\$body_bytes_sent",'
        '"duration":"\$request_time","referer":"\$http_referer","user_agent":"\$http_user_agent",'
        '"upstream_address":"\$upstream_addr","upstream_status":"\$upstream_status",'
        '"upstream_time":"\$upstream_response_time"}';
    access_log $folder/peer-access.ndjson records buffer=64k flush=1s;

    upstream app {
        server 127.0.0.1:$origin_port;
        keepalive 128;
        keepalive_requests 100000000;
    }
    ssl_protocols TLSv1.3;
    ssl_certificate $folder/chain.pem;
    ssl_certificate_key $folder/key.pem;
    server {
        listen 127.0.0.1:$peer_port ssl default_server;
        ssl_reject_handshake on;
    }
    server {
        listen 127.0.0.1:$peer_port ssl;
        server_name $host;
        location / {
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host \$host;
            proxy_set_header Accept-Encoding "";
            proxy_set_header X-Forwarded-For \$remote_addr;
            proxy_set_header X-Forwarded-Proto https;
            proxy_set_header X-Forwarded-Host \$host;
            proxy_set_header X-Request-Id \$request_id;
            sub_filter_once on;
            sub_filter '</body>' '<div style="text-align:center"><a href="https://beian.miit.gov.cn/" target="_blank" rel="noopener noreferrer nofollow">京ICP备2024012345号-1</a></div></body>';
        }
    }
}
NGINX
}
