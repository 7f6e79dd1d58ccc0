// Reads the rows of blocks back into records, by docs/retention-format.md, section 2.4.
package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"time"
	"unicode/utf8"
)

// The parts of a block that its rows refer to.
type rows struct {
	firstSeq uint64
	count    uint32
	length   uint32
}

// A record as a map of its fields.
type record map[string]any

var errShort = errors.New("a row ends too early, or holds what it must not")

// A reader of a part of a row. After the first error it returns zeros.
type wire struct {
	rest []byte
	err  error
}

func (w *wire) take(length uint64) []byte {
	if length > uint64(len(w.rest)) {
		w.err, w.rest = errShort, nil
		return make([]byte, min(length, 16))
	}
	taken := w.rest[:length]
	w.rest = w.rest[length:]
	return taken
}

func min(a, b uint64) uint64 {
	if a < b {
		return a
	}
	return b
}

func (w *wire) octet() byte   { return w.take(1)[0] }
func (w *wire) short() uint16 { return binary.LittleEndian.Uint16(w.take(2)) }
func (w *wire) bytes() []byte { return w.take(w.number()) }

func (w *wire) number() uint64 {
	number, length := binary.Uvarint(w.rest)
	if length <= 0 {
		w.err, w.rest = errShort, nil
		return 0
	}
	w.rest = w.rest[length:]
	return number
}

func (w *wire) signed() int64 {
	number := w.number()
	return int64(number>>1) ^ -int64(number&1)
}

func (w *wire) text() string {
	text := w.bytes()
	if !utf8.Valid(text) {
		w.err = errShort
	}
	return string(text)
}

func (w *wire) ip() netip.Addr {
	length := uint64(16)
	kind := w.octet()
	if kind == 4 {
		length = 4
	}
	ip, _ := netip.AddrFromSlice(w.take(length))
	if kind == 7 {
		ip = ip.WithZone(fmt.Sprint(binary.LittleEndian.Uint32(w.take(4))))
	}
	if kind != 4 && kind != 6 && kind != 7 {
		w.err = errShort
	}
	return ip
}

func (w *wire) address() netip.AddrPort {
	ip := w.ip()
	return netip.AddrPortFrom(ip, w.short())
}

// The state of a connection: the previous row's values, to which rows refer.
type connection struct {
	description, setting, referer []byte
}

// Decompresses the payloads in order.
func decompress(payloads []byte, dictionary string) ([]byte, error) {
	zstd := exec.Command("zstd", "--quiet", "--decompress", "--stdout", "-D", dictionary)
	zstd.Stdin, zstd.Stderr = bytes.NewReader(payloads), os.Stderr
	return zstd.Output()
}

// All records of a block.
func (r rows) read(content []byte) ([]record, error) {
	w := &wire{rest: content}
	node := w.text()
	synchronized := w.octet() == 1
	offset := w.signed()
	at := w.signed()
	var connections []*connection
	var records []record
	for number := uint32(0); number < r.count; number++ {
		tag := w.number()
		place := tag >> 2
		if place == uint64(len(connections))+1 {
			connections = append(connections, &connection{description: w.bytes()})
		}
		at += w.signed()
		found := record{
			"seq": r.firstSeq + uint64(number), "time": shown(at), "node": node,
			"clock_synchronized": synchronized, "clock_offset_ms": thousandths(offset),
		}
		switch {
		case tag == 0:
			found.note(w)
		case place == 0 || place > uint64(len(connections)):
			return nil, errShort
		default:
			c := connections[place-1]
			own := w.bytes()
			if tag&1 != 0 {
				c.setting = w.bytes()
			}
			if tag&2 != 0 {
				c.referer = w.bytes()
			}
			if err := found.exchange(c, own); err != nil {
				return nil, err
			}
		}
		if w.err != nil {
			return nil, w.err
		}
		found.forgetEmpty()
		records = append(records, found)
	}
	if len(w.rest) > 0 {
		return nil, errors.New("more rows than records")
	}
	return records, nil
}

func (r record) note(w *wire) {
	switch w.octet() {
	case 0:
		r["event"] = "gap"
		r["reason"] = w.text()
		r["since"] = shown(w.signed())
		if count := w.number(); count > 0 {
			r["count"] = count - 1
		}
	case 1:
		r["event"] = "expired"
		r["before_seq"] = w.number()
	default:
		w.err = errShort
	}
}

func (r record) exchange(c *connection, ownSection []byte) error {
	w := &wire{rest: c.description}
	id := w.number()
	bits := w.take(12)
	peer, local := w.address(), w.address()
	r.texts(w, "listener", "tls_version", "tls_cipher")
	r.endpoint("local", local)

	s := &wire{rest: c.setting}
	setting := s.octet()
	r["generation"] = s.number()
	if setting&8 != 0 {
		r["truncated"] = true
	}
	client := peer
	if setting&1 != 0 {
		client = s.address()
	}
	r.texts(s, "server_name", "host", "protocol")
	ofRequest := record{"referer": string(c.referer)}
	ofRequest.texts(s, "user_agent", "site", "icp_number")
	ofUpstream := record{}
	var from netip.Addr
	if setting&2 != 0 {
		ofUpstream.texts(s, "origin", "region", "link")
		if address := s.address(); address != netip.AddrPortFrom(netip.IPv4Unspecified(), 0) {
			ofUpstream["upstream_address"] = address.String()
		}
		if setting&4 != 0 {
			from = s.ip()
		}
	}

	o := &wire{rest: ownSection}
	flags := o.short()
	has := func(flag int) bool { return flags&(1<<flag) != 0 }
	r["event"] = "request"
	if has(0) {
		r["event"] = "refused"
	}
	many := has(1)
	if !many {
		r["connection_id"] = id
		r.endpoint("peer", peer)
		r.endpoint("client", client)
	}
	if has(2) {
		r["reason"] = o.text()
	}
	if has(3) {
		r["count"] = o.number()
	}
	requestID := ""
	if has(4) {
		requestID = hex.EncodeToString(binary.BigEndian.AppendUint32(append([]byte{}, bits...), uint32(o.number())))
	}
	if has(5) {
		requestID = o.text()
	}
	if !many && requestID != "" {
		r["request_id"] = requestID
	}
	var status uint16
	if has(6) {
		status = r.request(o, has, ofRequest)
	}
	if has(12) {
		r.add(ofUpstream)
		r.upstream(o, has, from, status)
	}
	r.more(o)
	for _, part := range []*wire{w, s, o} {
		if part.err != nil {
			return part.err
		}
		if len(part.rest) > 0 {
			return errors.New("a section holds more than it should")
		}
	}
	return nil
}

func (r record) request(o *wire, has func(int) bool, setting record) (status uint16) {
	r.add(setting)
	r["method"] = "GET"
	if has(7) {
		r["method"] = o.text()
	}
	r.texts(o, "path")
	if has(8) {
		r.texts(o, "query")
	}
	if has(9) {
		status = o.short()
		r["status"] = status
	}
	r["bytes_in"] = 0
	if has(10) {
		r["bytes_in"] = o.number()
	}
	r["bytes_out"] = o.number()
	r["duration_ms"] = thousandths(int64(o.number()))
	if has(11) {
		r.texts(o, "footer")
	}
	return status
}

// more reads the flags after the values of the first ones. What follows an unknown flag is not for this reader.
func (r record) more(o *wire) {
	if o.err != nil || len(o.rest) == 0 {
		return
	}
	flags := o.octet()
	if flags&1 != 0 {
		r.texts(o, "cache")
	}
	if flags&2 != 0 {
		r["trace_id"] = hex.EncodeToString(o.take(16))
	}
	if flags&^3 != 0 {
		o.rest = nil
	}
}

func (r record) upstream(o *wire, has func(int) bool, from netip.Addr, status uint16) {
	if has(13) {
		r["upstream_local_address"] = netip.AddrPortFrom(from, o.short()).String()
	}
	if has(14) {
		status = o.short()
	}
	if status != 0 {
		r["upstream_status"] = status
	}
	if has(15) {
		r["upstream_ms"] = thousandths(int64(o.number()))
	}
}

// Reads texts into these fields.
func (r record) texts(w *wire, names ...string) {
	for _, name := range names {
		r[name] = w.text()
	}
}

func (r record) add(more record) {
	for name, value := range more {
		r[name] = value
	}
}

// Removes empty texts, which mean absent fields.
func (r record) forgetEmpty() {
	for name, value := range r {
		if value == "" {
			delete(r, name)
		}
	}
}

func (r record) endpoint(name string, address netip.AddrPort) {
	r[name+"_ip"] = address.Addr().Unmap().String()
	if address.Port() != 0 {
		r[name+"_port"] = address.Port()
	}
}

func shown(milliseconds int64) string {
	shanghai := time.FixedZone("", 8*60*60)
	return time.UnixMilli(milliseconds).In(shanghai).Format("2006-01-02T15:04:05.000-07:00")
}

// A thousandth of a number, as a JSON number of three decimals.
func thousandths(number int64) json.RawMessage {
	sign := ""
	if number < 0 {
		sign, number = "-", -number
	}
	return json.RawMessage(fmt.Sprintf("%s%d.%03d", sign, number/1000, number%1000))
}
