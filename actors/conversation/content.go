package conversation

import (
	"strconv"
	"time"
	"unicode/utf16"

	"kith/actors/entity"
	"kith/actors/pb"
)

// mention is the type of an entity that mentions somebody.
const mention = "mention"

// ValidateContent checks the size of a content and what every client must be able to
// rely on. What the content means is the clients' business; a type that this
// server does not know is relayed as it came.
func ValidateContent(p *entity.Policy, c *pb.Content) error {
	if size := c.SizeVT(); size > p.MaxContentBytes {
		return entity.Errorf(entity.TooLarge, "a message has at most %d bytes, this one has %d", p.MaxContentBytes, size)
	}
	switch t := c.GetType().(type) {
	case nil:
		if len(c.ProtoReflect().GetUnknown()) == 0 {
			return entity.Errorf(entity.Invalid, "a message needs content")
		}
		return nil
	case *pb.Content_Text:
		return validateText(p, t.Text)
	case *pb.Content_Image:
		return firstError(media(t.Image.GetMedia()), caption(p, t.Image.GetCaption()))
	case *pb.Content_Voice:
		return media(t.Voice.GetMedia())
	case *pb.Content_Video:
		return firstError(media(t.Video.GetMedia()), caption(p, t.Video.GetCaption()))
	case *pb.Content_File:
		return firstError(media(t.File.GetMedia()), caption(p, t.File.GetCaption()))
	case *pb.Content_Sticker:
		return media(t.Sticker.GetMedia())
	case *pb.Content_Link:
		return nonEmpty(t.Link.GetUrl(), "a link needs a url")
	case *pb.Content_Location:
		return location(t.Location)
	case *pb.Content_Contact:
		return nonEmpty(t.Contact.GetName(), "a contact needs a name")
	case *pb.Content_Forwarded:
		return entity.Errorf(entity.Invalid, "to forward a message, use Messages.Forward")
	case *pb.Content_Custom:
		return nonEmpty(t.Custom.GetType(), "a custom message needs a type")
	}
	return nil
}

// validateText measures a text as clients do: in UTF-16 units, unless the
// profile counts bytes.
func validateText(p *entity.Policy, t *pb.Text) error {
	units := len(t.GetText()) // No text has more than its bytes, and most are short: 0.3 µs less.
	if len(t.GetEntities()) > 0 || units > p.MaxTextUTF16 {
		units = UTF16Units(t.GetText())
	}
	switch {
	case t.GetText() == "":
		return entity.Errorf(entity.Invalid, "a text must not be empty")
	case p.MaxTextBytes > 0 && len(t.Text) > p.MaxTextBytes:
		return entity.Errorf(entity.TooLarge, "a text has at most %d bytes, this one has %d", p.MaxTextBytes, len(t.Text))
	case p.MaxTextUTF16 > 0 && units > p.MaxTextUTF16:
		return entity.Errorf(entity.TooLarge, "a text has at most %d UTF-16 units, this one has %d", p.MaxTextUTF16, units)
	case len(t.Entities) > p.MaxEntities:
		return entity.Errorf(entity.TooLarge, "a text has at most %d entities, this one has %d", p.MaxEntities, len(t.Entities))
	}
	mentions := 0
	for i, e := range t.Entities {
		switch end := uint64(e.Offset) + uint64(e.Length); {
		case e.Type == "":
			return entity.Errorf(entity.Invalid, "entity %d needs a type", i)
		case e.Length == 0 || end > uint64(units):
			return entity.Errorf(entity.Invalid, "entity %d is not within the text, which has %d UTF-16 units", i, units)
		case e.Type == mention:
			mentions++
		}
	}
	if mentions > p.MaxMentions {
		return entity.Errorf(entity.TooLarge, "a text has at most %d mentions, this one has %d", p.MaxMentions, mentions)
	}
	return nil
}

// Words is the text of a content, or its caption.
func Words(c *pb.Content) string {
	switch t := c.GetType().(type) {
	case *pb.Content_Text:
		return t.Text.GetText()
	case *pb.Content_Image:
		return t.Image.GetCaption()
	case *pb.Content_Video:
		return t.Video.GetCaption()
	case *pb.Content_File:
		return t.File.GetCaption()
	}
	return ""
}

// UTF16Units is the length of a text as clients count it.
func UTF16Units(s string) (n int) {
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

func media(m *pb.Media) error { return nonEmpty(m.GetRef(), "the medium needs a ref") }

func caption(p *entity.Policy, s string) error {
	if n := UTF16Units(s); n > p.MaxCaptionUTF16 {
		return entity.Errorf(entity.TooLarge, "a caption has at most %d UTF-16 units, this one has %d", p.MaxCaptionUTF16, n)
	}
	return nil
}

// location is written so that what is not a number is refused too.
func location(l *pb.Location) error {
	if lat, long := l.GetLatitude(), l.GetLongitude(); !(lat >= -90 && lat <= 90 && long >= -180 && long <= 180) {
		return entity.Errorf(entity.Invalid, "a location has a latitude from -90 to 90 and a longitude from -180 to 180")
	}
	return nil
}

func nonEmpty(s, sentence string) error {
	if s == "" {
		return entity.Errorf(entity.Invalid, "%s", sentence)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Period says a length of time as a person would: in the largest unit that divides it, and two days as 48 hours.
func Period(d time.Duration) string {
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		switch n := d / unit.size; {
		case d%unit.size != 0 || unit.size == 24*time.Hour && n < 3:
		case n == 1:
			return "1 " + unit.name
		default:
			return strconv.FormatInt(int64(n), 10) + " " + unit.name + "s"
		}
	}
	return d.String()
}
