package filterbench

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/api/meta"
	machinery "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	restwatch "k8s.io/client-go/rest/watch"
)

func events(work work, body []byte, rounds int) (string, error) {
	count := 0
	took, err := best(rounds, func() (err error) {
		count, err = work.stream(body)
		return err
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%.1f", float64(took.Microseconds())/float64(count)), nil
}

// stream is what a client does with a watch, and a server with what it tells of
// it; how many events there were.
func (work work) stream(body []byte) (int, error) {
	objects, serializer, framer, err := codecs().StreamDecoder(work.contentType, nil)
	if err != nil {
		return 0, err
	}
	embedded, err := codecs().Encoder(work.contentType, nil)
	if err != nil {
		return 0, err
	}
	frames := framer.NewFrameReader(io.NopCloser(bytes.NewReader(body)))
	decoder := restwatch.NewDecoder(streaming.NewDecoder(frames, serializer), objects)
	encoder := restwatch.NewEncoder(streaming.NewEncoder(framer.NewFrameWriter(io.Discard), serializer), embedded)
	for count := 0; ; count++ {
		kind, object, err := decoder.Decode()
		if errors.Is(err, io.EOF) {
			return count, nil
		}
		if err != nil {
			return 0, err
		}
		shown, err := work.one(object)
		if err != nil {
			return 0, err
		}
		if shown == nil {
			kind, shown = watch.Deleted, object
		}
		if err := encoder.Encode(&watch.Event{Type: kind, Object: shown}); err != nil {
			return 0, err
		}
	}
}

// one filters an object as a list that it is alone in; nil: it is hidden.
func (work work) one(object machinery.Object) (machinery.Object, error) {
	kinds, _, err := scheme.Scheme.ObjectKinds(object)
	if err != nil {
		return nil, err
	}
	list, err := scheme.Scheme.New(kinds[0].GroupVersion().WithKind(kinds[0].Kind + "List"))
	if err != nil {
		return nil, err
	}
	if err := meta.SetList(list, []machinery.Object{object}); err != nil {
		return nil, err
	}
	work.filter(list)
	left, err := meta.ExtractList(list)
	if err != nil || len(left) == 0 {
		return nil, err
	}
	return left[0], nil
}
