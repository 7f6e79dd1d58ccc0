// A second reader of a record store, written from docs/retention-format.md alone. It checks every
// checkpoint with the reference implementation of signed notes and transparent logs, and proves each
// block's place in the newest one.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
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
	if err := verify(os.Args[1]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

type store struct {
	verifiers note.Verifiers
	hashes    []tlog.Hash
	leaves    []tlog.Hash
	records   uint64
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

func verify(directory string) error {
	keys, err := os.ReadFile(filepath.Join(directory, "verifier.key"))
	if err != nil {
		return err
	}
	var s store
	var verifiers []note.Verifier
	for _, key := range strings.Fields(string(keys)) {
		verifier, err := note.NewVerifier(key)
		if err != nil {
			return err
		}
		verifiers = append(verifiers, verifier)
	}
	s.verifiers = note.VerifierList(verifiers...)
	segments, err := filepath.Glob(filepath.Join(directory, "access-*-*.seg"))
	if err != nil {
		return err
	}
	sort.Slice(segments, func(a, b int) bool { return first(segments[a]) < first(segments[b]) })
	for _, segment := range segments {
		content, err := os.ReadFile(segment)
		if err != nil {
			return err
		}
		if err := s.segment(content); err != nil {
			return fmt.Errorf("%s: %w", segment, err)
		}
	}
	shown, err := os.ReadFile(filepath.Join(directory, "checkpoint"))
	if err != nil {
		return err
	}
	if err := s.checkpoint(shown); err != nil {
		return err
	}
	for number, leaf := range s.leaves {
		proof, err := tlog.ProveRecord(s.signed, int64(number), &s)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, s.signed, s.root, int64(number), leaf); err != nil {
			return err
		}
	}
	fmt.Printf("%d records in %d blocks, %d signed\n", s.records, len(s.leaves), s.signed)
	return nil
}

// The number of a segment's first block.
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
	s.records += uint64(binary.LittleEndian.Uint32(head[20:]))
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
