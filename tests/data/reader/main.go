// A second reader of a record store, written from docs/retention-format.md alone. It checks every
// checkpoint with the reference implementation of signed notes and transparent logs, proves that each
// block is included in the newest one, and writes every record as a line of JSON.
//
// usage: reader DIRECTORY DICTIONARY
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func main() {
	s, err := verify(os.Args[1])
	if err == nil {
		err = s.export(os.Args[2], os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type store struct {
	verifiers note.Verifiers
	hashes    []tlog.Hash
	leaves    []tlog.Hash
	records   uint64
	payloads  []byte
	rows      []rows
	signed    int64
	root      tlog.Hash
}

func (s *store) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, index := range indexes {
		found = append(found, s.hashes[index])
	}
	return found, nil
}

func verify(directory string) (*store, error) {
	keys, err := os.ReadFile(filepath.Join(directory, "verifier.key"))
	if err != nil {
		return nil, err
	}
	var s store
	var verifiers []note.Verifier
	for _, key := range strings.Fields(string(keys)) {
		verifier, err := note.NewVerifier(key)
		if err != nil {
			return nil, err
		}
		verifiers = append(verifiers, verifier)
	}
	s.verifiers = note.VerifierList(verifiers...)
	segments, err := filepath.Glob(filepath.Join(directory, "access-*-*.seg"))
	if err != nil {
		return nil, err
	}
	sort.Slice(segments, func(a, b int) bool { return first(segments[a]) < first(segments[b]) })
	for _, segment := range segments {
		content, err := os.ReadFile(segment)
		if err != nil {
			return nil, err
		}
		if err := s.segment(content); err != nil {
			return nil, fmt.Errorf("%s: %w", segment, err)
		}
	}
	shown, err := os.ReadFile(filepath.Join(directory, "checkpoint"))
	if err != nil {
		return nil, err
	}
	if err := s.checkpoint(shown); err != nil {
		return nil, err
	}
	for number, leaf := range s.leaves {
		proof, err := tlog.ProveRecord(s.signed, int64(number), &s)
		if err != nil {
			return nil, err
		}
		if err := tlog.CheckRecord(proof, s.signed, s.root, int64(number), leaf); err != nil {
			return nil, err
		}
	}
	fmt.Fprintf(os.Stderr, "%d records in %d blocks, %d signed\n", s.records, len(s.leaves), s.signed)
	return &s, nil
}

// Writes every record to out.
func (s *store) export(dictionary string, out io.Writer) error {
	content, err := decompress(s.payloads, dictionary)
	if err != nil {
		return fmt.Errorf("zstd: %w", err)
	}
	lines := json.NewEncoder(out)
	for _, block := range s.rows {
		if int(block.length) > len(content) {
			return errShort
		}
		records, err := block.read(content[:block.length])
		if err != nil {
			return fmt.Errorf("the block of record %d: %w", block.firstSeq, err)
		}
		for _, record := range records {
			if err := lines.Encode(record); err != nil {
				return err
			}
		}
		content = content[block.length:]
	}
	if len(content) > 0 {
		return errors.New("blocks hold more than they say")
	}
	return nil
}

// The number of the first block of a segment.
func first(segment string) string {
	return segment[len(segment)-len("00000000000000000000.seg"):]
}

func (s *store) segment(content []byte) error {
	for at := 0; at < len(content); {
		frame := content[at:]
		length := int(binary.LittleEndian.Uint32(frame[8:]))
		magic := string(frame[:4])
		head := length
		if magic == "icpB" {
			head = 136
			length += head
		}
		crc := crc32.Update(crc32.Checksum(frame[:4], castagnoli), castagnoli, frame[8:head])
		if crc != binary.LittleEndian.Uint32(frame[4:]) {
			return fmt.Errorf("byte %d: wrong CRC", at)
		}
		var err error
		switch magic {
		case "icpS":
			if block := binary.LittleEndian.Uint64(frame[16:]); block != uint64(len(s.leaves)) {
				err = fmt.Errorf("begins with block %d", block)
			}
		case "icpB":
			err = s.block(frame[:head], frame[head:length])
		case "icpC":
			err = s.checkpoint(frame[12:length])
		default:
			err = fmt.Errorf("unknown frame %q", magic)
		}
		if err != nil {
			return fmt.Errorf("byte %d: %w", at, err)
		}
		at += length
	}
	return nil
}

func (s *store) block(head, payload []byte) error {
	number := int64(binary.LittleEndian.Uint64(head[24:]))
	if number != int64(len(s.leaves)) {
		return fmt.Errorf("block %d does not follow", number)
	}
	if digest := sha256.Sum256(payload); !bytes.Equal(digest[:], head[64:96]) {
		return fmt.Errorf("block %d: another payload", number)
	}
	if number > 0 && !bytes.Equal(s.leaves[number-1][:], head[96:128]) {
		return fmt.Errorf("block %d does not follow the one before it", number)
	}
	if count := binary.LittleEndian.Uint32(head[20:]); count > 0 {
		firstSeq, length := binary.LittleEndian.Uint64(head[32:]), binary.LittleEndian.Uint32(head[16:])
		s.rows = append(s.rows, rows{firstSeq, count, length})
		s.payloads = append(s.payloads, payload...)
		s.records += uint64(count)
	}
	s.leaves = append(s.leaves, tlog.RecordHash(head[8:]))
	hashes, err := tlog.StoredHashes(number, head[8:], s)
	s.hashes = append(s.hashes, hashes...)
	return err
}

func (s *store) checkpoint(text []byte) error {
	opened, err := note.Open(text, s.verifiers)
	if err != nil {
		return err
	}
	lines := strings.Split(opened.Text, "\n")
	if s.signed, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return err
	}
	if s.root, err = tlog.TreeHash(s.signed, s); err != nil {
		return err
	}
	if root := base64.StdEncoding.EncodeToString(s.root[:]); root != lines[2] {
		return fmt.Errorf("the tree of %d blocks is %s, signed is %s", s.signed, root, lines[2])
	}
	return nil
}
