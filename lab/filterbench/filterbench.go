// Package filterbench is what a filter costs a program that is made of
// client-go: decode the whole list, or each event of a watch, change it, encode
// it again.
//
//	lab filterbench FILTER json|protobuf list LENGTH ROUNDS
//	lab filterbench FILTER json|protobuf events LENGTH ROUNDS
//
// It reads a list, or a watch's events, of LENGTH bytes from standard input and
// prints one line of its best round: of a list the bytes of input per second in
// MB/s, and the memory in MB that the work took beyond the list; of events the
// microseconds that each of them took. It has one core, as the hub's figure has.
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
	if len(args) != 5 || filters[args[0]] == nil || contentTypes[args[1]] == "" || measures[args[2]] == nil {
		fmt.Fprintln(os.Stderr, "usage: lab filterbench FILTER json|protobuf list|events LENGTH ROUNDS <BODY")
		return 64
	}
	work := work{filter: filters[args[0]], contentType: contentTypes[args[1]]}
	if err := work.measured(measures[args[2]], args[3], args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "filterbench:", err)
		return 1
	}
	return 0
}

// work is what is done to a body.
type work struct {
	filter      func(machinery.Object)
	contentType string
}

// measures do the work in rounds and say what it cost.
var measures = map[string]func(work work, body []byte, rounds int) (string, error){
	"list":   list,
	"events": events,
}

func (work work) measured(measure func(work, []byte, int) (string, error), length, rounds string) error {
	runtime.GOMAXPROCS(1)
	size, err := strconv.Atoi(length)
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(rounds)
	if err != nil {
		return err
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(os.Stdin, body); err != nil {
		return err
	}
	said, err := measure(work, body, count)
	if err != nil {
		return err
	}
	fmt.Println(said)
	return nil
}

func list(work work, body []byte, rounds int) (string, error) {
	before, err := peak()
	if err != nil {
		return "", err
	}
	took, err := best(rounds, func() error { return work.round(body) })
	if err != nil {
		return "", err
	}
	after, err := peak()
	return fmt.Sprintf("%.1f %.1f", float64(len(body))/1e6/took.Seconds(), after-before), err
}

func best(rounds int, round func() error) (time.Duration, error) {
	var best time.Duration
	for range rounds {
		began := time.Now()
		if err := round(); err != nil {
			return 0, err
		}
		if took := time.Since(began); best == 0 || took < best {
			best = took
		}
	}
	return best, nil
}

// round is what a client does with an answer, and a server with what it says:
// the codecs are those of client-go's own clients.
func (work work) round(list []byte) error {
	decoder, err := codecs().Decoder(work.contentType, nil)
	if err != nil {
		return err
	}
	encoder, err := codecs().Encoder(work.contentType, nil)
	if err != nil {
		return err
	}
	object, _, err := decoder.Decode(list, nil, nil)
	if err != nil {
		return err
	}
	work.filter(object)
	_, err = machinery.Encode(encoder, object)
	return err
}

func codecs() machinery.ClientNegotiator {
	return machinery.NewClientNegotiator(scheme.Codecs.WithoutConversion(), corev1.SchemeGroupVersion)
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
