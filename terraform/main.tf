# One edge: a network, an instance with the filed address, icpgate as a systemd unit.

resource "alicloud_vpc" "edge" {
  vpc_name   = var.name
  cidr_block = "10.0.0.0/16"
}

resource "alicloud_vswitch" "edge" {
  vswitch_name = var.name
  vpc_id       = alicloud_vpc.edge.id
  cidr_block   = "10.0.1.0/24"
  zone_id      = var.zone
}

resource "alicloud_security_group" "edge" {
  security_group_name = var.name
  vpc_id              = alicloud_vpc.edge.id
}

# Both ports may be open here before the approval: icpgate holds them closed until the filing is approved.
resource "alicloud_security_group_rule" "clients" {
  for_each          = toset(["80/80", "443/443"])
  security_group_id = alicloud_security_group.edge.id
  type              = "ingress"
  ip_protocol       = "tcp"
  port_range        = each.value
  cidr_ip           = "0.0.0.0/0"
}

resource "alicloud_security_group_rule" "operators" {
  for_each          = { for pair in setproduct(var.admin_networks, ["22/22", "9180/9180"]) : join(" ", pair) => pair }
  security_group_id = alicloud_security_group.edge.id
  type              = "ingress"
  ip_protocol       = "tcp"
  port_range        = each.value[1]
  cidr_ip           = each.value[0]
}

resource "alicloud_instance" "edge" {
  instance_name        = var.name
  host_name            = var.name
  image_id             = var.image_id
  instance_type        = var.instance_type
  vswitch_id           = alicloud_vswitch.edge.id
  security_groups      = [alicloud_security_group.edge.id]
  role_name            = alicloud_ram_role.edge.role_name
  system_disk_category = "cloud_essd"
  # The metadata service answers only to requests with a token.
  http_tokens          = "required"
  instance_charge_type = "PrePaid"
  period               = var.prepaid_months
  period_unit          = "Month"

  data_disks {
    name     = "records"
    category = "cloud_essd"
    size     = var.records_disk_gib
    # The evidence outlives the instance.
    delete_with_instance = false
  }

  user_data = base64encode(templatefile("${path.module}/cloud-init.yaml.tftpl", {
    configuration  = var.configuration
    filings        = var.filings
    package_url    = var.package_url
    package_sha256 = var.package_sha256
    ntp_servers    = var.ntp_servers
  }))
}

resource "alicloud_eip_association" "filed" {
  allocation_id = var.eip_id
  instance_id   = alicloud_instance.edge.id
}
