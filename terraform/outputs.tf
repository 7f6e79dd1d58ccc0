output "instance_id" {
  description = "The instance that carries the filed address."
  value       = alicloud_instance.edge.id
}

output "sinks" {
  description = "The `access_log.sinks` of icpgate.yaml for this log store and bucket."
  value = yamlencode([
    {
      name        = "sls"
      type        = "sls"
      endpoint    = "https://${var.region}-intranet.log.aliyuncs.com"
      region      = var.region
      project     = alicloud_log_project.audit.project_name
      logstore    = alicloud_log_store.access.logstore_name
      credentials = { from = "ecs_role", role = alicloud_ram_role.edge.role_name }
    },
    {
      name        = "oss"
      type        = "oss"
      endpoint    = "https://oss-${var.region}-internal.aliyuncs.com"
      region      = var.region
      bucket      = alicloud_oss_bucket.audit.bucket
      credentials = { from = "ecs_role", role = alicloud_ram_role.edge.role_name }
      require     = true
    },
  ])
}
