//! What the words of the gate, of filings and of reloads mean, in both languages.

use super::language::Language;
use crate::edge::journal::ReloadOutcome;
use crate::gate::deadline::DeadlineKind;
use crate::gate::{FilingStatus, Refusal};
use crate::snapshot::changes::Part;

impl Language {
    pub(crate) fn pick(self, english: &'static str, chinese: &'static str) -> &'static str {
        match self {
            Self::English => english,
            Self::Chinese => chinese,
        }
    }

    pub(crate) fn status(self, status: FilingStatus) -> &'static str {
        let (english, chinese) = match status {
            FilingStatus::Preparing => ("preparing", "准备材料"),
            FilingStatus::ProviderReview => ("provider review", "接入商初审"),
            FilingStatus::SmsVerification => ("SMS verification", "短信核验"),
            FilingStatus::BureauReview => ("bureau review", "管局审核"),
            FilingStatus::Approved => ("approved", "已备案"),
            FilingStatus::Suspended => ("suspended", "已暂停"),
            FilingStatus::Cancelled => ("cancelled", "已注销"),
        };
        self.pick(english, chinese)
    }

    pub(crate) fn deadline(self, kind: DeadlineKind) -> &'static str {
        let (english, chinese) = match kind {
            DeadlineKind::SmsVerification => ("SMS verification", "短信核验"),
            DeadlineKind::PublicSecurity => ("public security filing", "公安联网备案"),
            DeadlineKind::ValidUntil => ("approval ends", "备案有效期届满"),
        };
        self.pick(english, chinese)
    }

    pub(crate) fn consequence(self, kind: DeadlineKind) -> &'static str {
        let chinese = match kind {
            DeadlineKind::SmsVerification => "申请被退回，须从接入商初审重新开始",
            DeadlineKind::PublicSecurity => "公安机关可予以警告、罚款或责令停止联网",
            DeadlineKind::ValidUntil => "备案终止：其主机名被拒绝，没有其他主机名的端口关闭",
        };
        self.pick(kind.consequence(), chinese)
    }

    pub(crate) fn part(self, part: Part) -> &'static str {
        let chinese = match part {
            Part::Filings => "备案",
            Part::Listeners => "监听",
            Part::Sites => "站点",
            Part::Certificates => "证书",
            Part::Origins => "源站",
            Part::Sinks => "外送目标",
            Part::Settings => "设置",
        };
        self.pick(part.label(), chinese)
    }

    /// How a reload ended.
    pub(crate) fn reload(self, outcome: &ReloadOutcome) -> &'static str {
        let chinese = match outcome {
            ReloadOutcome::Applied(_) => "已应用",
            ReloadOutcome::Rejected(_) => "已拒绝",
            ReloadOutcome::Stale => "已全部关闭",
        };
        self.pick(outcome.label(), chinese)
    }

    /// What a refusal means for whoever runs the edge.
    pub(crate) fn refusal(self, refusal: Refusal) -> &'static str {
        let (english, chinese) = match refusal {
            Refusal::NoServerName => ("the client named no host", "客户端没有给出主机名"),
            Refusal::BadServerName => ("the name is no host name", "不是合法的主机名"),
            Refusal::IpLiteral => ("the name is an IP address", "名称是 IP 地址"),
            Refusal::NotFiled => ("no filing for its domain", "该域名没有备案"),
            Refusal::NotApproved => ("the filing is not approved", "备案尚未通过"),
            Refusal::NotYetValid => ("the approval begins later", "备案尚未生效"),
            Refusal::Expired => ("the approval has ended", "备案已到期"),
            Refusal::HostExcluded => ("the filing names other hosts", "备案不包含该主机名"),
            Refusal::AddressNotFiled => ("filed for other addresses", "接入地址与备案不符"),
            Refusal::NoSite => ("no site serves it", "没有站点提供服务"),
            Refusal::NoCertificate => ("no usable certificate", "没有可用的证书"),
            Refusal::Esni => ("encrypted server name (ESNI)", "使用了 ESNI"),
            Refusal::BadHello => ("malformed ClientHello", "ClientHello 格式错误"),
            Refusal::NotTls => ("not TLS", "不是 TLS"),
            Refusal::HelloTimeout => ("ClientHello too late", "ClientHello 超时"),
            Refusal::BadHead => ("malformed request head", "请求头格式错误"),
            Refusal::HeadTimeout => ("request head too late", "请求头超时"),
            Refusal::HostNotPermitted => ("a request for a host that is closed", "请求的主机名未开放"),
            Refusal::NotCovered => ("not covered by the certificate in use", "所用证书不包含该主机名"),
            Refusal::TooManyConnections => ("too many connections", "连接过多"),
            Refusal::ProxyProtocol => ("PROXY header missing or not trusted", "PROXY 头缺失或不可信"),
            Refusal::TlsVersion => ("TLS older than 1.2", "TLS 版本低于 1.2"),
            Refusal::Handshake => ("the handshake failed", "握手失败"),
        };
        self.pick(english, chinese)
    }

    /// A time that is left, or has passed since, in words.
    pub(crate) fn left(self, seconds: i64) -> String {
        const HOUR: i64 = 60 * 60;
        let (amount, english, chinese) = match seconds.abs() {
            long if long >= 72 * HOUR => (long / (24 * HOUR), "days", "天"),
            hours if hours >= 2 * HOUR => (hours / HOUR, "hours", "小时"),
            short => (short / 60, "minutes", "分钟"),
        };
        match (self, seconds > 0) {
            (Self::English, true) => format!("{amount} {english} left"),
            (Self::English, false) => format!("over for {amount} {english}"),
            (Self::Chinese, true) => format!("还剩 {amount} {chinese}"),
            (Self::Chinese, false) => format!("已逾期 {amount} {chinese}"),
        }
    }

    /// A number of days.
    pub(crate) fn days(self, days: f64) -> String {
        match self {
            Self::English => format!("{days:.1} days"),
            Self::Chinese => format!("{days:.1} 天"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_told_in_the_unit_that_fits() {
        let english = |seconds| Language::English.left(seconds);
        assert_eq!(english(100 * 24 * 3600 + 5), "100 days left");
        assert_eq!(english(71 * 3600), "71 hours left");
        assert_eq!(english(119 * 60), "119 minutes left");
        assert_eq!(english(-5 * 24 * 3600), "over for 5 days");
        assert_eq!(Language::Chinese.left(-7_300), "已逾期 2 小时");
    }
}
