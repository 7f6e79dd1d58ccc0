# An edge in Beijing: credentials come from the environment (ALICLOUD_ACCESS_KEY, ALICLOUD_SECRET_KEY).

provider "alicloud" {
  region = "cn-beijing"
}

module "edge" {
  source = "../.."

  name             = "bj-edge-1"
  region           = "cn-beijing"
  zone             = "cn-beijing-h"
  eip_id           = "eip-filed"
  eip_address      = "203.0.113.10"
  offshore_address = "198.51.100.20"
  domain           = "example.cn"
  host_records     = ["www", "@"]
  image_id         = "debian_12_x64_20G_alibase"
  package_url      = "https://mirror.example.cn/icpgate_0.1.0_amd64.deb"
  package_sha256   = "0000000000000000000000000000000000000000000000000000000000000000"
  configuration    = file("${path.module}/icpgate.yaml")
}

output "sinks" {
  value = module.edge.sinks
}
