//! Pages of the shapes that sites have: generators, frameworks, hand-written ones of every decade, and broken ones.

/// Where the footer is to a visitor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// Below everything else.
    Last,
    /// Above what the page puts behind its body, or floats over it.
    Amid,
    /// There is none.
    Nowhere,
}

/// A page: `^` is where the footer goes, `~` where a large one has its text.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) html: &'static str,
    pub(super) seen: Seen,
}

const fn shape(name: &'static str, seen: Seen, html: &'static str) -> Shape {
    Shape { name, html, seen }
}

pub(super) const SHAPES: [Shape; 40] = [
    shape(
        "plain",
        Seen::Last,
        "<!DOCTYPE html>\n<html lang=\"zh-CN\"><head><meta charset=\"{charset}\"><title>首页</title></head>\n<body><h1>公司</h1>~<p>你好</p>^</body>\n</html>\n",
    ),
    shape(
        "wordpress",
        Seen::Last,
        "<!DOCTYPE html>\n<html lang=\"zh-CN\">\n<head>\n<meta charset=\"{charset}\">\n<link rel=\"profile\" href=\"https://gmpg.org/xfn/11\">\n<style id='wp-block-library-inline-css'>.a>.b{content:\"</body>\"}</style>\n</head>\n<body class=\"home blog\"><div id=\"page\"><main>~<article><h2>文章</h2></article></main></div>\n<script>/* <![CDATA[ */ var wp = {\"url\":\"<\\/body>\"}; /* ]]> */</script>\n^</body>\n</html>\n",
    ),
    shape(
        "vue",
        Seen::Last,
        "<!doctype html><html lang=zh><head><meta charset={charset}><meta name=viewport content=\"width=device-width,initial-scale=1\"><title>应用</title><script>window.__STATE__={a:'</div></body>'}</script></head><body><noscript><strong>请开启 JavaScript</strong></noscript><div id=app>~</div>^</body></html>",
    ),
    shape(
        "react",
        Seen::Last,
        "<!DOCTYPE html><html><head><meta charSet=\"{charset}\"/><title>店</title></head><body><div id=\"__next\"><!-- --><p>商品<!-- -->一</p>~</div><script id=\"__NEXT_DATA__\" type=\"application/json\">{\"props\":{\"html\":\"\\u003c/body>\"}}</script>^</body></html>",
    ),
    shape(
        "discuz",
        Seen::Last,
        "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\" \"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n<html xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta http-equiv=\"Content-Type\" content=\"text/html; charset={charset}\" />\n<title>论坛 - Powered by Discuz!</title>\n</head>\n<body id=\"nv_forum\" class=\"pg_index\" onkeydown=\"if(event.keyCode==27) return false;\">\n<div id=\"append_parent\"></div>~<table cellspacing=\"0\"><tr><td>版块</td></tr></table>\n^</body>\n</html>\n",
    ),
    shape(
        "dedecms",
        Seen::Last,
        "<html>\n<head>\n<meta http-equiv=\"Content-Type\" content=\"text/html; charset={charset}\">\n<title>资讯</title>\n</head>\n<body leftmargin=0 topmargin=0 bgcolor=#ffffff>\n<center><font color=red size=2>新闻</font></center>~<br>\n^</body></html>",
    ),
    shape(
        "tables",
        Seen::Last,
        "<HTML><HEAD><META HTTP-EQUIV=Content-Type CONTENT=\"text/html; charset={charset}\"><TITLE>主页</TITLE></HEAD><BODY BGCOLOR=\"#FFFFFF\"><TABLE WIDTH=100% BORDER=0><TR><TD><FONT SIZE=+1>欢迎</FONT></TD></TR></TABLE>~<HR>^</BODY></HTML>",
    ),
    shape(
        "conditional_comments",
        Seen::Last,
        "<!DOCTYPE html><!--[if lt IE 9]><html class=\"ie\"></body><![endif]--><!--[if gt IE 8]><!--><html><!--<![endif]--><head><meta charset=\"{charset}\"><title>兼容</title></head><body><!--[if lt IE 9]><p></body></p><![endif]-->~<p>正文</p>^</body></html>",
    ),
    shape(
        "xhtml",
        Seen::Last,
        "<?xml version=\"1.0\" encoding=\"{charset}\"?>\n<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Strict//EN\" \"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd\">\n<html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"zh\"><head><meta http-equiv=\"Content-Type\" content=\"text/html; charset={charset}\"/><title>页</title></head><body><p>段落<br/></p>~^</body></html>",
    ),
    shape("no_head", Seen::Last, "<html><body><p>只有正文</p>~^</body></html>"),
    shape(
        "no_body_end",
        Seen::Last,
        "<!doctype html><html><head><meta charset={charset}><title>未完</title></head><body><p>没有结束标签</p>~^",
    ),
    shape(
        "no_html_end",
        Seen::Last,
        "<!doctype html><html><head><meta charset={charset}></head><body><p>没有结束</p>~^</body>",
    ),
    shape("doctype_only", Seen::Last, "<!doctype html><meta charset={charset}><title>短</title><p>短页~^"),
    shape(
        "minified",
        Seen::Last,
        "<!doctype html><meta charset={charset}><title>压</title><body class=a><p>一<p>二~<ul><li>三<li>四</ul>^</body>",
    ),
    shape(
        "body_end_in_script",
        Seen::Last,
        "<!doctype html><html><head><meta charset={charset}></head><body><script>var end = '</body></html>'; // </body>\n</script><p>脚本</p>~<script type=\"text/template\"><div></body></div></script>^</body></html>",
    ),
    shape(
        "body_end_in_textarea",
        Seen::Last,
        "<!doctype html><html><head><meta charset={charset}><title></body></title></head><body><textarea></body></html></textarea><xmp></body></xmp>~<p>文本</p>^</body></html>",
    ),
    shape(
        "body_end_in_attribute",
        Seen::Last,
        "<!doctype html><html><head><meta charset={charset}></head><body data-x='</body>'><img alt=\"</body>\" src='data:,'><iframe srcdoc=\"<body></body>\" width=10 height=10></iframe>~<p>属性</p>^</body></html>",
    ),
    shape(
        "body_end_in_comment",
        Seen::Last,
        "<!doctype html><html><head><meta charset={charset}></head><body><!-- </body> --><!--></body--><!----!><p>注释</p>~<!-- a -- b --!>^</body></html>",
    ),
    shape(
        "two_body_ends",
        Seen::Amid,
        "<!doctype html><html><head><meta charset={charset}></head><body><p>一</p>~^</body><p>二</p></body></html>",
    ),
    shape(
        "content_after_html",
        Seen::Amid,
        "<!doctype html><html><head><meta charset={charset}></head><body><p>正文</p>~^</body></html>\n<script>document.body.dataset.late = 1</script><div>统计</div>\n<!-- 0.01s -->",
    ),
    shape(
        "php_notice_after",
        Seen::Amid,
        "<!doctype html><html><head><meta charset={charset}></head><body><p>正文</p>~^</body></html><br />\n<b>Notice</b>:  Undefined index in <b>/www/a.php</b> on line <b>1</b><br />\n",
    ),
    shape(
        "unclosed_elements",
        Seen::Last,
        "<!doctype html><html><head><meta charset={charset}></head><body><div><div><p>未关<b>粗<i>斜</div>~<p>段^</body></html>",
    ),
    shape(
        "unclosed_cell",
        Seen::Last,
        "<!doctype html><html><head><meta charset={charset}></head><body><table border=1><tr><td>格~^</body></html>",
    ),
    shape(
        "unclosed_list",
        Seen::Last,
        "<!doctype html><html><head><meta charset={charset}></head><body><ul><li>一<li>二<ol><li>三~^</body></html>",
    ),
    shape(
        "misnested",
        Seen::Last,
        "<!doctype html><html><head><meta charset={charset}></head><body><b><p>错</b>套</p><a href=x><div>链</a></div><form><table><form></table></form>~^</body></html>",
    ),
    shape(
        "svg",
        Seen::Last,
        "<!doctype html><html><head><meta charset={charset}></head><body><svg width=20 height=20 viewBox='0 0 9 9'><title>图</title><style>a{b:c}</style><path d='M0 0h9'/><foreignObject><p>内</p></foreignObject></svg>~<p>图形</p>^</body></html>",
    ),
    shape(
        "math",
        Seen::Last,
        "<!doctype html><html><head><meta charset={charset}></head><body><math><mi>x</mi><annotation-xml encoding='text/html'><p>注</p></annotation-xml></math>~<p>公式</p>^</body></html>",
    ),
    shape(
        "template",
        Seen::Last,
        "<!doctype html><html><head><meta charset={charset}></head><body><template><p>模板</p></body></html></template><p>正文</p>~^</body></html>",
    ),
    shape(
        "odd_tags",
        Seen::Last,
        "<!DOCTYPE HTML><HTML><HEAD><META CHARSET={charset}></HEAD><BODY\n>< p>小于 < 号 <3 & &amp; &copy 1<2</p><p a=1 a=2 =b 'c'>~</p><//x><!x><?y>^</BODY\n></HTML\n>",
    ),
    shape(
        "long_tail",
        Seen::Last,
        "<!doctype html><html><head><meta charset={charset}></head><body><p>正文</p>~^</body>\n\n\n<!-- 页面生成于 2026 -->\n<!-- cached -->\n</html>\n\n",
    ),
    shape(
        "floats",
        Seen::Amid,
        "<!doctype html><html><head><meta charset={charset}><style>#kf{position:fixed;bottom:0;right:0;height:50px}</style></head><body><div id=kf>客服</div>~<p>浮动</p>^</body></html>",
    ),
    shape(
        "inline_style",
        Seen::Last,
        "<!doctype html><html><head><meta charset={charset}><style>*{margin:0;padding:0;box-sizing:border-box}a{color:#333;text-decoration:none}body{font:14px/1.5 sans-serif;display:flex;flex-direction:column}</style></head><body><header>头</header>~<footer>© 公司</footer>^</body></html>",
    ),
    shape(
        "frames",
        Seen::Nowhere,
        "<html><head><meta http-equiv=content-type content='text/html; charset={charset}'><title>框架</title></head><frameset rows='50%,50%'><frame src='about:blank'><frame src='about:blank'><noframes><body>~不支持</body></noframes></frameset></html>",
    ),
    shape("fragment", Seen::Nowhere, "<div class=list><p>片段</p>~</div>"),
    shape(
        "unfinished_comment",
        Seen::Nowhere,
        "<!doctype html><html><head><meta charset={charset}></head><body><p>开</p>~<!-- 没有结束 </body></html>",
    ),
    shape(
        "unfinished_script",
        Seen::Nowhere,
        "<!doctype html><html><head><meta charset={charset}></head><body><p>开</p>~<script>var a = '</body></html>",
    ),
    shape(
        "own_number",
        Seen::Nowhere,
        "<!doctype html><html><head><meta charset={charset}></head><body><p>页</p>~<a href=\"https://beian.miit.gov.cn/\">京ICP备2024012345号-1</a></body></html>",
    ),
    shape(
        "own_number_behind",
        Seen::Nowhere,
        "<!doctype html><html><head><meta charset={charset}></head><body><p>页</p>~</body></html><a href='https://beian.miit.gov.cn/'>京<b>ICP</b>备2024012345号-1</a>",
    ),
    shape(
        "other_number",
        Seen::Last,
        "<!doctype html><html><head><meta charset={charset}></head><body><p>沪ICP备2024099999号-1</p>~^</body></html>",
    ),
    shape(
        "nested_pages",
        Seen::Last,
        "<!doctype html><html><head><meta charset={charset}></head><body><html lang=zh><body class=b><p>重复</p>~^</body></html>",
    ),
];
