//! The words of the page, in both languages.

use super::language::Language;

/// Declares the words with their text in both languages, so that neither can be missing.
macro_rules! words {
    ($($name:ident = $english:literal, $chinese:literal;)*) => {
        /// The words of the page in one language.
        #[derive(Debug)]
        pub(crate) struct Words {
            $(pub(crate) $name: &'static str,)*
        }

        static ENGLISH: Words = Words { $($name: $english,)* };
        static CHINESE: Words = Words { $($name: $chinese,)* };
    };
}

words! {
    title = "icpgate status", "icpgate 状态";
    skip = "Skip to the content", "跳到正文";
    as_of = "As of", "截至";
    beijing_time = "Beijing time", "北京时间";
    live = "Live: changes show by themselves", "实时：变化会自动显示";
    not_live = "Not connected: what is shown may be old", "未连接：显示的内容可能已过时";
    everything_open = "Everything is open", "全部已开放";
    partly_open = "Open, with attention needed", "已开放，但需要注意";
    nothing_open = "Not ready", "未就绪";
    next_due = "Next due", "下一个到期";
    nothing_due = "Nothing is due", "没有到期事项";
    hosts_open = "hosts open", "个主机名已开放";
    of = "of", "/";
    addresses_bound = "addresses bound", "个地址已监听";
    filter = "Filter", "筛选";
    filter_hint = "Domain, host, number or site", "域名、主机名、备案号或站点";
    apply = "Show", "显示";
    clear = "Clear", "清除";
    shown = "shown", "显示";
    matching = "matching", "符合";
    total = "in all", "共";
    nothing = "Nothing to show", "没有内容";
    more = "more", "更多";

    due = "What is due", "到期事项";
    subject = "Subject", "对象";
    what = "What", "事项";
    when = "When", "时间";
    left = "Time left", "剩余时间";
    consequence = "If it is missed", "逾期后果";
    certificate_expires = "certificate expires", "证书到期";
    certificate_consequence = "its hosts are refused over TLS", "其主机名的 TLS 连接将被拒绝";

    filings = "Filings", "备案";
    source = "Source", "来源";
    confirmed_before = "last confirmed before", "上次确认于";
    seconds = "seconds", "秒前";
    domain = "Domain", "域名";
    number = "Number", "备案号";
    state = "State", "状态";
    next_deadline = "Next deadline", "下一个期限";

    listeners = "Listeners", "监听";
    listener = "Listener", "监听";
    addresses = "Addresses", "地址";
    open_hosts = "Open hosts", "已开放的主机名";
    closed_hosts = "Closed hosts", "未开放的主机名";
    bound = "bound", "已监听";
    not_bound = "not bound", "未监听";
    cannot_bind = "cannot be bound", "无法监听";
    host = "Host", "主机名";
    reason = "Reason", "原因";

    refused = "Refused in the last hour", "最近一小时的拒绝";
    refused_about = "Names that clients asked for: who points other domains at this address?", "客户端请求的名称：谁把别的域名解析到了这个地址？";
    name = "Name", "名称";
    count = "Count", "次数";
    last_seen = "Last", "最近一次";

    sites = "Sites and certificates", "站点与证书";
    site = "Site", "站点";
    hosts = "Hosts", "主机名";
    certificate = "Certificate", "证书";
    no_certificate_needed = "none configured", "未配置";
    unusable = "not usable", "不可用";
    until = "until", "有效期至";

    origins = "Origins and links", "源站与线路";
    origin = "Origin", "源站";
    link = "Link", "线路";
    first_byte_curve = "First byte, 10 minutes", "首字节时间（10 分钟）";
    first_byte = "First byte", "首字节";
    p95 = "p95", "p95";
    answers = "Answers", "应答";
    failures = "Failures", "失败";
    in_use = "In use", "使用中";
    not_in_use = "held back", "备用";
    server = "Server", "服务器";
    up = "up", "正常";
    down = "ejected", "已摘除";
    backup = "backup", "备份";
    in_flight = "In flight", "进行中";
    connect = "Connect", "连接";
    round_trip = "Round trip", "往返";
    loss = "Loss", "丢包";
    no_data = "no data", "无数据";

    cache = "Edge cache", "边缘缓存";
    memory = "Memory", "内存";
    disk = "Disk", "磁盘";
    stored_answers = "answers", "个响应";
    not_configured = "not configured", "未配置";
    hit_rate = "Hit rate since start", "启动以来的命中率";
    from_cache = "From the cache", "来自缓存";
    requests = "Requests", "请求";

    retention = "Records and retention", "日志留存";
    records = "Records since start", "启动以来的记录";
    lost = "Lost", "丢失";
    span = "Span kept", "已留存";
    required = "Required", "要求留存";
    disk_left = "Disk lasts for", "磁盘还可用";
    at_this_rate = "at the present rate", "按当前速率";
    not_known_yet = "known after an hour of records", "有一小时的记录后可知";
    store_full = "No record can be kept", "无法写入记录";
    clock = "Clock", "时钟";
    synchronized = "synchronized", "已同步";
    not_synchronized = "not synchronized", "未同步";
    sinks = "Sinks", "外送目标";
    sink = "Sink", "目标";
    kind = "Type", "类型";
    promise = "Promise", "留存承诺";
    kept = "kept", "满足";
    not_kept = "not kept", "不满足";
    no_promise = "none", "无承诺";
    required_sink = "required", "必需";
    lag = "Lag", "延迟";
    last_error = "Last error", "最近错误";

    reloads = "Reloads", "重载记录";
    generation = "Generation", "代次";
    result = "Result", "结果";
    changes = "What changed", "变化";
    no_reloads = "None since the start", "启动以来没有重载";
    added = "added", "新增";
    removed = "removed", "移除";
    replaced = "replaced", "替换";
    unchanged = "nothing", "无变化";

    other_pages = "Other pages", "其他页面";
}

impl Language {
    /// The words.
    pub(crate) fn words(self) -> &'static Words {
        match self {
            Self::English => &ENGLISH,
            Self::Chinese => &CHINESE,
        }
    }
}
