// Package filterbench is what a filter costs a program that is made of
// client-go: decode the whole list, change it, encode it again.
//
//	lab filterbench FILTER json|protobuf LENGTH ROUNDS
//
// It reads a list of LENGTH bytes from standard input and prints one line, of
// its best round: bytes of input per second in MB/s, and the memory in MB that
// the work took beyond the list. It has one core, as the hub's figure has.
package filterbench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	machinery "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

var contentTypes = map[string]string{
	"json":     machinery.ContentTypeJSON,
	"protobuf": machinery.ContentTypeProtobuf,
}

// Main is the program; its exit code is 64 for arguments that it does not know.
func Main(args []string) int {
	if len(args) != 4 || filters[args[0]] == nil || contentTypes[args[1]] == "" {
		fmt.Fprintln(os.Stderr, "usage: lab filterbench FILTER json|protobuf LENGTH ROUNDS <LIST")
		return 64
	}
	if err := measure(filters[args[0]], contentTypes[args[1]], args[2], args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "filterbench:", err)
		return 1
	}
	return 0
}

func measure(filter func(machinery.Object), contentType, length, rounds string) error {
	runtime.GOMAXPROCS(1)
	size, err := strconv.Atoi(length)
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(rounds)
	if err != nil {
		return err
	}
	list := make([]byte, size)
	if _, err := io.ReadFull(os.Stdin, list); err != nil {
		return err
	}
	before, err := peak()
	if err != nil {
		return err
	}
	var best time.Duration
	for range count {
		began := time.Now()
		if err := round(filter, contentType, list); err != nil {
			return err
		}
		if took := time.Since(began); best == 0 || took < best {
			best = took
		}
	}
	after, err := peak()
	if err != nil {
		return err
	}
	fmt.Printf("%.1f %.1f\n", float64(size)/1e6/best.Seconds(), after-before)
	return nil
}

// round is what a client does with an answer, and a server with what it says:
// the codecs are those of client-go's own clients.
func round(filter func(machinery.Object), contentType string, list []byte) error {
	codecs := machinery.NewClientNegotiator(scheme.Codecs.WithoutConversion(), corev1.SchemeGroupVersion)
	decoder, err := codecs.Decoder(contentType, nil)
	if err != nil {
		return err
	}
	encoder, err := codecs.Encoder(contentType, nil)
	if err != nil {
		return err
	}
	object, _, err := decoder.Decode(list, nil, nil)
	if err != nil {
		return err
	}
	filter(object)
	_, err = machinery.Encode(encoder, object)
	return err
}

// peak is the most memory that this process ever had, in MB.
func peak() (float64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(status)
	if found == nil {
		return 0, errors.New("no VmHWM in /proc/self/status")
	}
	kilobytes, err := strconv.ParseFloat(string(found[1]), 64)
	return kilobytes / 1024, err
}
