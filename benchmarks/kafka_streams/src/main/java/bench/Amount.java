package bench;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** The amount of a transaction, read as cheaply as can be: fields before it are skipped, those behind it not looked at. */
public final class Amount {
  private static final int FINGERPRINT_BYTES = 10;

  private Amount() {}

  public static double of(byte[] value) {
    ByteBuffer data = ByteBuffer.wrap(value).order(ByteOrder.LITTLE_ENDIAN);
    data.position(FINGERPRINT_BYTES);
    skipOptionalString(data); // event_id
    skipString(data); // user_id
    skipOptionalString(data); // transaction_state
    skipString(data); // transaction_currency
    if (varint(data) != 0) {
      data.position(data.position() + Double.BYTES); // user_balance
    }
    return data.getDouble();
  }

  private static void skipOptionalString(ByteBuffer data) {
    if (varint(data) != 0) {
      skipString(data);
    }
  }

  private static void skipString(ByteBuffer data) {
    int length = (int) varint(data);
    data.position(data.position() + length);
  }

  private static long varint(ByteBuffer data) {
    long value = 0;
    int shift = 0;
    byte part;
    do {
      part = data.get();
      value |= (long) (part & 0x7F) << shift;
      shift += 7;
    } while (part < 0);
    return (value >>> 1) ^ -(value & 1);
  }
}
