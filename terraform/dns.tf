# Split DNS: clients in the mainland get the filed address, all others the offshore one.

resource "alicloud_alidns_record" "mainland" {
  for_each    = toset(var.host_records)
  domain_name = var.domain
  rr          = each.value
  type        = "A"
  value       = var.eip_address
  line        = "china"
  ttl         = 600
}

resource "alicloud_alidns_record" "others" {
  for_each    = toset(var.host_records)
  domain_name = var.domain
  rr          = each.value
  type        = "A"
  value       = var.offshore_address
  line        = "default"
  ttl         = 600
}
