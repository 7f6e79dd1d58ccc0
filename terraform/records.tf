# Where access records go besides the instance's own disk, and who may do what there: the instance writes and reads the
# promise back; deleting is denied to it by name.

resource "alicloud_log_project" "audit" {
  project_name = "${var.name}-audit"
}

resource "alicloud_log_store" "access" {
  project_name     = alicloud_log_project.audit.project_name
  logstore_name    = "access"
  retention_period = max(var.retention_days, 180)
  shard_count      = 2
}

resource "alicloud_oss_bucket" "audit" {
  bucket        = "${var.name}-audit"
  storage_class = "IA"
}

resource "alicloud_oss_bucket_acl" "audit" {
  bucket = alicloud_oss_bucket.audit.bucket
  acl    = "private"
}

# Locked: nobody, the account's owner included, can delete or shorten for so many days.
resource "alicloud_oss_bucket_worm" "audit" {
  bucket                   = alicloud_oss_bucket.audit.bucket
  retention_period_in_days = max(var.retention_days, 180)
  status                   = "Locked"
}

resource "alicloud_ram_role" "edge" {
  role_name = "${var.name}-edge"
  assume_role_policy_document = jsonencode({
    Version = "1"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = ["ecs.aliyuncs.com"] }
    }]
  })
}

resource "alicloud_ram_policy" "ship" {
  policy_name = "${var.name}-ship"
  policy_document = jsonencode({
    Version = "1"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["log:PostLogStoreLogs", "log:GetLogStore"]
        Resource = ["acs:log:${var.region}:*:project/${alicloud_log_project.audit.project_name}/logstore/access"]
      },
      {
        Effect = "Allow"
        Action = ["oss:PutObject", "oss:GetObject", "oss:ListObjects", "oss:GetBucketWorm"]
        Resource = [
          "acs:oss:*:*:${alicloud_oss_bucket.audit.bucket}",
          "acs:oss:*:*:${alicloud_oss_bucket.audit.bucket}/*",
        ]
      },
      {
        Effect = "Deny"
        Action = [
          "oss:DeleteObject", "oss:DeleteObjectVersion", "oss:DeleteBucket", "oss:AbortBucketWorm",
          "log:DeleteLogStore", "log:UpdateLogStore", "log:DeleteProject",
        ]
        Resource = ["*"]
      },
    ]
  })
}

resource "alicloud_ram_role_policy_attachment" "ship" {
  policy_name = alicloud_ram_policy.ship.policy_name
  policy_type = "Custom"
  role_name   = alicloud_ram_role.edge.role_name
}
