// The header: sections 3 to 9.

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"
)

const magic = "\x89WAX\r\n\x1a\n"

var (
	arnForm  = regexp.MustCompile(`\Aarn:aws[a-z-]*:kms:([a-z0-9-]{1,32}):[0-9]{12}:key/[A-Za-z0-9-]{1,128}\z`)
	hexForm  = regexp.MustCompile(`\A[0-9a-f]{32}\z`)
	capitals = regexp.MustCompile(`[A-Z]+`)
	idForms  = map[int]*regexp.Regexp{1: arnForm, 2: hexForm, 3: regexp.MustCompile(`\A\z`), 4: arnForm, 5: arnForm, 6: hexForm}
	sizes    = map[int][2]int{2: {104, 104}, 3: {148, 148}, 4: {1192, 1672}, 5: {488, 616}, 6: {1224, 1224}} // 9.1
	places   = []int{0, 4096, 8192, 16384, 32768, 65536}                                                     // 7.2; all but 0 are a bank_len
	exits    = map[string]int{"header": 3, "newer": 3, "demand": 8, "slot": 5, "commitment": 4, "payload": 4, "truncated": 4, "usage": 2, "io": 7}
)

type fail struct { // ends the reading: main recovers it
	class, message string
	code           int
}

func require(truth bool, class, message string) {
	if !truth {
		panic(fail{class, message, exits[class]})
	}
}
func check(err error, class string) { require(err == nil, class, fmt.Sprint(err)) }

type entry [2]string // key and value
type slot struct {
	kind           int
	keyID, wrapped string
}
type bank struct {
	length         int64
	suite          int
	generation     uint32
	pairs, labels  []entry
	slots          []slot
	prelude, bound string
}

func isText(text string) bool { // 5.2, 9.1
	control := func(r rune) bool { return r < 0x20 || 0x7f <= r && r <= 0x9f }
	return utf8.ValidString(text) && strings.IndexFunc(text, control) < 0
}
func checkEntries(entries []entry, class string) { // 5.2
	require(len(entries) <= 64, class, "more than 64 entries")
	seen := map[string]bool{}
	for n, e := range entries {
		require(e[0] != "" && e[1] != "" && isText(e[0]) && isText(e[1]), class, "an entry is empty or not valid text")
		require(n == 0 || entries[n-1][0] < e[0], class, "entries are not in ascending order, or two have the same key")
		key := capitals.ReplaceAllStringFunc(e[0], strings.ToLower)
		require(!seen[key], class, "keys differ only in case")
		require(!strings.HasPrefix(key, "waxseal:") && !strings.HasPrefix(key, "aws:"), class, "a key is reserved")
		seen[key] = true
	}
}
func checkSlots(slots []slot) { // 9.1
	seen := map[string]bool{}
	for _, s := range slots {
		size, form, group := len(s.wrapped), idForms[s.kind], s.kind
		fits := size == sizes[s.kind][0] || size == sizes[s.kind][1]
		if s.kind == 1 || s.kind == 4 || s.kind == 5 {
			group = 1 // a KMS key is of one kind
		}
		fits = s.kind > 6 || (s.kind == 1 && 1 <= size && size <= 6144 || s.kind > 1 && fits) && form.MatchString(s.keyID)
		require(fits && isText(s.keyID), "header", fmt.Sprintf("a slot of kind %d has a wrong key id or length", s.kind))
		name := fmt.Sprint(group, " ", s.keyID)
		require(s.kind > 6 || !seen[name], "header", "duplicate slots")
		seen[name] = true
	}
}

func peek(file io.ReaderAt, offset int64, size int) []byte { // what cannot be read is absent
	buffer := make([]byte, size)
	n, _ := file.ReadAt(buffer, offset)
	return buffer[:n]
}
func holdsMagic(file io.ReaderAt, place int64) bool { return string(peek(file, place, 8)) == magic }

func readBank(file io.ReaderAt, number int, place int64) *bank { // 6; nil is "damaged"
	head := peek(file, place, 16)
	if len(head) < 16 || string(head[:8]) != magic {
		return nil
	}
	length := int(binary.LittleEndian.Uint32(head[12:]))
	if n := sort.SearchInts(places, length); length == 0 || n == len(places) || places[n] != length || place != int64(number*length) {
		return nil
	}
	raw, end := peek(file, place, length), length-32
	if len(raw) < length || !bytes.Equal(raw[:16], head) {
		return nil
	}
	if sum := sha256.Sum256(raw[:end]); !bytes.Equal(sum[:], raw[end:]) || int(binary.LittleEndian.Uint16(raw[22:])) != number {
		return nil
	}
	version, flags, pos := binary.LittleEndian.Uint16(raw[8:]), binary.LittleEndian.Uint16(raw[96:]), 98
	require(version == 1, "newer", fmt.Sprint("version ", version))
	take := func(size int) string {
		require(size <= end-pos, "header", fmt.Sprintf("the field at %d does not fit into the bank", pos))
		pos += size
		return string(raw[pos-size : pos])
	}
	u16 := func() int { return int(binary.LittleEndian.Uint16([]byte(take(2)))) }
	list := func() (entries []entry) { // 5.1
		count := u16()
		require(count <= 64, "header", "more than 64 entries")
		for ; count > 0; count-- {
			key := take(u16())
			entries = append(entries, entry{key, take(u16())})
		}
		checkEntries(entries, "header")
		return entries
	}
	b := &bank{length: int64(length), suite: int(binary.LittleEndian.Uint16(raw[10:])), prelude: string(raw[24:80]),
		generation: binary.LittleEndian.Uint32(raw[16:])}
	count := int(binary.LittleEndian.Uint16(raw[20:]))
	require((b.suite == 1 || b.suite == 2) && flags <= 1 && 1 <= count && count <= 16, "header", "wrong suite, flags or slot_count")
	b.pairs = list()
	b.labels = list()
	require(pos-96 <= 8192, "header", "pairs and labels are too long")
	b.bound = string(raw[:12]) + string(raw[80:pos])
	for ; count > 0; count-- {
		kind := u16()
		id := take(u16())
		b.slots = append(b.slots, slot{kind, id, take(u16())})
	}
	checkSlots(b.slots)
	require(len(bytes.Trim(raw[pos:end], "\x00")) == 0, "header", "the filling is not zero")
	return b
}

func readBanks(file io.ReaderAt) (*bank, string) { // 7.1: the bank that counts, and a warning
	zero, others := readBank(file, 0, 0), []int64{}
	for _, place := range places[1:] {
		if holdsMagic(file, int64(place)) {
			others = append(others, int64(place))
		}
	}
	if zero == nil { // 7.3
		require(len(others) > 0 || holdsMagic(file, 0), "header", "not a waxseal file")
		require(len(others) < 2, "header", "the magic is at more than one place")
		require(len(others) > 0, "header", "damaged header")
		one := readBank(file, 1, others[0])
		require(one != nil, "header", "damaged header")
		return one, "bank 0 is damaged"
	}
	require(len(others) == 0 || len(others) == 1 && others[0] == zero.length, "header", "the magic is at a wrong place")
	_, err := file.ReadAt(make([]byte, 1), 2*zero.length-1)
	require(err != io.EOF, "header", "the file ends before its header")
	one := readBank(file, 1, zero.length)
	if one == nil {
		return zero, "bank 1 is damaged"
	}
	require(zero.bound == one.bound && zero.prelude == one.prelude, "header", "the banks have different bound bytes or preludes") // 7.5
	warning, d := "", one.generation-zero.generation
	if d != 0 || !reflect.DeepEqual(zero.slots, one.slots) {
		warning = "the banks differ in generation or slots"
	}
	if 0 < d && d < 1<<31 {
		return one, warning
	}
	return zero, warning
}
