variable "name" {
  description = "Prefix of every resource's name, and the node's name in access records."
  type        = string
}

variable "region" {
  description = "A mainland region, such as cn-beijing."
  type        = string
}

variable "zone" {
  description = "The zone of the switch and the instance, such as cn-beijing-h."
  type        = string
}

variable "eip_id" {
  description = "The id of the EIP whose address is filed. It exists before this module: a new one would get an unfiled address, and be blocked."
  type        = string
}

variable "eip_address" {
  description = "The address of that EIP, for DNS and for `public_addresses`."
  type        = string
}

variable "offshore_address" {
  description = "The address that clients outside of the mainland get."
  type        = string
}

variable "domain" {
  description = "The registrable domain as filed, such as example.cn. Its zone is served by Alibaba Cloud DNS."
  type        = string
}

variable "host_records" {
  description = "Records below the domain that are filed and served, such as www or @."
  type        = list(string)
  default     = ["www"]
}

variable "image_id" {
  description = "A Debian 12 image of the region."
  type        = string
}

variable "instance_type" {
  description = "The instance type. Two cores serve about 60,000 small requests a second (docs/benchmarks.md)."
  type        = string
  default     = "ecs.g7.large"
}

variable "prepaid_months" {
  description = "Months paid ahead. Providers demand at least 3 for an ICP service number."
  type        = number
  default     = 3
}

variable "package_url" {
  description = "Where the instance fetches icpgate's Debian package: a mirror inside the mainland."
  type        = string
}

variable "package_sha256" {
  description = "The checksum of that package."
  type        = string
}

variable "configuration" {
  description = "The text of icpgate.yaml."
  type        = string
}

variable "filings" {
  description = "The text of filings.yaml. `filings: []` before the approval: nothing is bound."
  type        = string
  default     = "filings: []\n"
}

variable "records_disk_gib" {
  description = "Size of the disk for access records, in GiB. docs/retention.md says how to size it."
  type        = number
  default     = 200
}

variable "retention_days" {
  description = "Days that records are kept in the log store and the bucket. The law asks for six months: at least 180."
  type        = number
  default     = 190
}

variable "admin_networks" {
  description = "Networks that may reach SSH and the admin port."
  type        = list(string)
  default     = []
}

variable "ntp_servers" {
  description = "Time servers inside the mainland. Public ones abroad jitter or are blocked."
  type        = list(string)
  default     = ["ntp.cloud.aliyuncs.com", "ntp7.cloud.aliyuncs.com"]
}
